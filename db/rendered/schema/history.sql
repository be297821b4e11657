-- name: get_held_from
-- The first date from which on all partitioned tables ($1) have partitions.
SELECT "prop_trading_model".recon_held_from($1::text[])

-- name: list_detached
-- Tables that look like detached partitions of partitioned ones ($1): same columns, and a year and
-- month at the end of the name.
SELECT p.relname::text AS parent, c.relname::text AS name,
    make_date(month[1]::integer, month[2]::integer, 1) AS month
FROM pg_class AS p
JOIN pg_class AS c ON c.relnamespace = p.relnamespace AND c.relkind IN ('r', 'p')
    AND NOT c.relispartition AND starts_with(c.relname, p.relname || '_')
CROSS JOIN LATERAL regexp_match(substr(c.relname, length(p.relname) + 1),
    '^_[a-z]?(\d{4})_?(0[1-9]|1[0-2])(?!\d)') AS month
WHERE p.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
    AND p.relname = ANY($1::text[]) AND p.relkind = 'p'
  AND month IS NOT NULL AND month[1] <> '0000'
  AND NOT EXISTS (
      SELECT attname FROM pg_attribute WHERE attrelid = p.oid AND attnum > 0 AND NOT attisdropped
      EXCEPT
      SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
  )
ORDER BY 1, 3, 2

-- name: is_adopted
-- Whether any raw table with a history ($1) stood before trade-recon.
SELECT EXISTS
    (SELECT FROM "prop_trading_model".recon_migrations WHERE adopted
    AND right(name, -5) = ANY($1::text[]))

-- name: get_window
-- The first date that runs compare; null: all.
SELECT first_day FROM "prop_trading_model".recon_window

-- name: note_window
-- Record the first date that runs compare; a row only if it changed.
INSERT INTO "prop_trading_model".recon_window AS kept (first_day, noted_at) VALUES ($1::date, now())
ON CONFLICT (only_row) DO UPDATE SET first_day = excluded.first_day, noted_at = excluded.noted_at
WHERE kept.first_day IS DISTINCT FROM excluded.first_day

-- name: forget_set_aside_rows
-- Delete set-aside rows from before the history.
DELETE FROM "prop_trading_model".recon_set_aside_rows WHERE date < $1::date

-- name: forget_doubted_dates
-- Delete doubted dates from before the history.
DELETE FROM "prop_trading_model".recon_doubted_dates WHERE date < $1::date

-- name: forget_descents
-- Delete dates from before the history whose finer rows were still to be read.
DELETE FROM "prop_trading_model".recon_descents WHERE date < $1::date

-- name: note_before
-- Record what upstream counts for accounts ($2: trades $3, profit $4, lots $5) before the history
-- that begins on $1; with $6 it is added to what was recorded of earlier dates.
INSERT INTO "prop_trading_model".recon_history
    AS h (account_id, history_from, trades, net_profit, total_lots)
SELECT account_id, $1::date, trades, net_profit, total_lots
FROM unnest($2::text[], $3::bigint[], $4::numeric[], $5::numeric[], $6::boolean[])
    AS told (account_id, trades, net_profit, total_lots, is_added)
WHERE NOT is_added
    OR EXISTS (SELECT FROM "prop_trading_model".recon_history AS k
    WHERE k.account_id = told.account_id AND k.history_from < $1::date)
ORDER BY account_id
ON CONFLICT (account_id) DO UPDATE
SET history_from = excluded.history_from, read_at = now(),
    (trades, net_profit, total_lots) = (
        SELECT CASE WHEN is_added THEN h.trades ELSE 0 END + excluded.trades, CASE
            WHEN is_added THEN h.net_profit ELSE 0 END + excluded.net_profit,
               CASE WHEN is_added THEN h.total_lots ELSE 0 END + excluded.total_lots
        FROM unnest($2::text[], $6::boolean[]) AS told (account_id, is_added)
            WHERE told.account_id = excluded.account_id
    )
