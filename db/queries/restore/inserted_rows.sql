-- name: list_inserted_rows
-- Rows inserted for an account $1, in a table $2, by a run $3, on a date $4 (null: any), older than
-- change $5, by at most $6 transactions, newest first: counts by date, the run's kind, and the
-- account's issues then: all, and those naming the date.
SELECT c.change_id, c.changed_at, c.account_id, c.table_name, inserted.day AS date, inserted.rows, c.run_id, r.kind AS run_kind, i.open_issues, i.named_issues
FROM (
    SELECT change_id, changed_at, account_id, table_name, run_id, inserted_days, inserted_rows
    FROM prop_trading_model.recon_changes
    WHERE inserted_rows IS NOT NULL AND ($1::text IS NULL OR account_id = $1::text) AND ($2::text IS NULL OR table_name = $2::text)
      AND ($3::uuid IS NULL OR run_id = $3::uuid) AND ($4::date IS NULL OR $4::date = ANY(inserted_days)) AND ($5::bigint IS NULL OR change_id < $5::bigint)
    ORDER BY change_id DESC
    LIMIT $6
) AS c
CROSS JOIN LATERAL unnest(c.inserted_days, c.inserted_rows) AS inserted (day, rows)
LEFT JOIN prop_trading_model.recon_runs AS r ON r.run_id = c.run_id
LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT h.type ORDER BY h.type) AS open_issues,
           array_agg(DISTINCT h.type ORDER BY h.type) FILTER (WHERE h.evidence -> 'missing_dates' ? inserted.day::text) AS named_issues
    FROM prop_trading_model.recon_issue_history AS h
    WHERE c.run_id IS NOT NULL AND h.account_id = c.account_id AND h.opened_at <= c.changed_at AND (h.closed_at IS NULL OR h.closed_at >= c.changed_at)
) AS i ON true
WHERE $4::date IS NULL OR inserted.day = $4::date
ORDER BY c.change_id DESC, inserted.day

-- name: get_standing_rows
-- Rows of {{raw}} that are as runs ($4) inserted them for accounts ($2) on dates ($3), by change
-- ($1): number, and keys of the first $5; none if unknown by now. The recorded count of rows
-- inserted into table $6 shares a statement, hence a row version, with the rows.
WITH versions AS MATERIALIZED (
    SELECT DISTINCT run_id, date, xmin::text AS version
    FROM prop_trading_model.recon_run_inserts
    WHERE run_id = ANY($4::uuid[]) AND table_name = $6
)
SELECT w.change_id, w.day, count(s.key) AS rows, (array_agg(s.key ORDER BY s.key) FILTER (WHERE s.key IS NOT NULL))[1:$5::integer] AS keys
FROM unnest($1::bigint[], $2::text[], $3::date[], $4::uuid[]) AS w (change_id, account_id, day, run_id)
CROSS JOIN LATERAL (
    SELECT array_agg(v.version) AS known FROM versions AS v WHERE v.run_id = w.run_id AND v.date IS NOT DISTINCT FROM w.day HAVING count(*) > 0
) AS of_run
LEFT JOIN LATERAL (
    SELECT {{t_key_text}} AS key
    FROM {{raw}} AS t
    WHERE t.account_id = w.account_id AND {{same_day}} AND t.xmin::text = ANY(of_run.known)
      -- Overwritten or moved rows have a copy.
      AND NOT EXISTS (
          SELECT FROM prop_trading_model.recon_removed_rows AS k
          WHERE k.account_id = w.account_id AND k.table_name = $6 AND k.xmin = t.xmin AND {{same_unit}}
      )
) AS s ON true
GROUP BY w.change_id, w.day
