-- name: get_fingerprints
-- Fingerprints of slices of "prop_trading_model".raw_trades_closed: any insert, update or delete by others changes count or sum.
SELECT account_id, sum(rows)::bigint AS rows, sum(versions)::bigint AS versions
FROM (
    SELECT account_id::text, count(*) AS rows, sum(t.xmin::text::bigint) AS versions
    FROM "prop_trading_model".raw_trades_closed AS t
    WHERE account_id = ANY($1::text[]) AND t."trade_date" BETWEEN ($2::date[])[1] AND ($2::date[])[2]
    GROUP BY account_id

) AS parts
GROUP BY account_id

-- name: get_fingerprints_without_id
-- Trades without an id count for each account that ever held their natural key, since ingestion
-- fills the id later.
UNION ALL
SELECT i.account_id, count(*), sum(t.xmin::text::bigint)
FROM "prop_trading_model".recon_identity AS i
JOIN "prop_trading_model".raw_trades_closed AS t ON t.account_id IS NULL AND t.login::text = i.login AND t.platform::text = i.platform AND coalesce(t.broker::text, '') = i.broker
WHERE i.account_id = ANY($1::text[]) AND t."trade_date" BETWEEN ($2::date[])[1] AND ($2::date[])[2]
GROUP BY i.account_id

-- name: get_horizon
-- All later commits have this transaction id or a higher one.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint

-- name: get_newer_slices
-- Accounts ($1) with rows in their slices ($2) that another transaction may have written since the
-- horizon $3.
SELECT t.account_id::text AS account_id
FROM "prop_trading_model".raw_trades_closed AS t
WHERE t.account_id = ANY($1::text[]) AND t."trade_date" BETWEEN ($2::date[])[1] AND ($2::date[])[2] AND NOT (age(t.xmin) > pg_current_xact_id()::text::bigint - $3::bigint)
GROUP BY t.account_id

-- name: get_newer_slices_without_id
-- The same for trades without an id.
UNION
SELECT i.account_id
FROM "prop_trading_model".recon_identity AS i
JOIN "prop_trading_model".raw_trades_closed AS t ON t.account_id IS NULL AND t.login::text = i.login AND t.platform::text = i.platform AND coalesce(t.broker::text, '') = i.broker
WHERE i.account_id = ANY($1::text[]) AND t."trade_date" BETWEEN ($2::date[])[1] AND ($2::date[])[2] AND NOT (age(t.xmin) > pg_current_xact_id()::text::bigint - $3::bigint)
