-- name: is_foreign
-- Whether others wrote row t since copy c was kept. A run's write and its copy share a transaction,
-- as do a restore and copies that it keeps or uses; a restored row may be what ingestion wrote
-- between c and a later copy. A double in a moved row's place is older than the copy; for copies of
-- no run, ingestion's stamp must prove that too.
(
    t.xmin <> c.xmin
    AND CASE
        WHEN EXISTS (SELECT FROM {{same}} AND k.xmin = t.xmin)
            THEN {{stamped}}
                AND EXISTS (
                    SELECT FROM {{same}} AND k.removed_id > c.removed_id
                      AND k.row_data -> 'ingestion_timestamp' = to_jsonb(t) -> 'ingestion_timestamp'
                )
                AND NOT EXISTS (
                    SELECT FROM {{same}}
                      AND to_jsonb(t) -> 'ingestion_timestamp' IN (to_jsonb(k.removed_at), to_jsonb(k.removed_at AT TIME ZONE 'UTC'))
                )
        WHEN c.run_id IS NULL THEN {{stamped}}
        ELSE c.reason <> 'moved' OR age(t.xmin) < age(c.xmin)
    END
)

-- name: stood_there
-- Whether row t was stored before the run that removed its double c, so that it is not c's
-- successor.
(c.reason IN ('moved', 'removed') AND c.run_id IS NOT NULL AND t.xmin <> c.xmin AND age(t.xmin) > age(c.xmin))

-- name: beside_as
-- If row t succeeds a row that stood beside the one of copy c, the reason of that row's copy k:
-- overwritten in place, or removed and restored. A row overwritten with the values of c was c's
-- own, as a move only changes the date.
CASE WHEN c.reason = 'moved' AND NOT (t."trade_date" = r."trade_date") THEN (
    SELECT min(k.reason) FROM {{same}}
      AND k.date = t."trade_date" AND jsonb_build_array(k.row_data -> 'platform', k.row_data -> 'broker', k.row_data -> 'login', k.row_data -> 'position', k.row_data -> 'ticket', k.row_data -> 'trade_date') = jsonb_build_array(t."platform", t."broker", t."login", t."position", t."ticket", t."trade_date")
      AND (
          k.run_id = c.run_id AND k.removed_at = c.removed_at AND CASE k.reason WHEN 'overwritten' THEN {{has_other_values}} ELSE k.restored_at IS NOT NULL END
          OR k.right_date IS NOT NULL AND k.restored_at IS NOT NULL AND t.xmin <> c.xmin
      )
) END

-- name: has_other_values
-- Whether copies k and c differ in a column that upstream sends ({{values}}).
EXISTS (SELECT FROM jsonb_each(c.row_data) AS held WHERE held.key = ANY({{values}}) AND held.value IS DISTINCT FROM k.row_data -> held.key)

-- name: copies_of_account
-- Copies k of the accounts and table of row t and copy c; the start of a statement.
"prop_trading_model".recon_removed_rows AS k
                WHERE k.table_name = c.table_name AND k.account_id IN (c.account_id, t.account_id::text, r.account_id::text)

-- name: is_stamped_anew
-- Whether row t has an ingestion stamp other than that of copy c's row and the time of copying.
(
    to_jsonb(t) -> 'ingestion_timestamp' IS DISTINCT FROM c.row_data -> 'ingestion_timestamp'
    AND to_jsonb(t) -> 'ingestion_timestamp' NOT IN (to_jsonb(c.removed_at), to_jsonb(c.removed_at AT TIME ZONE 'UTC'))
)

-- name: plain_copies
-- Copies {{ids}}, each decompressed once; PostgreSQL would do so for every column read.
(
    SELECT removed_id, account_id, table_name, date, reason, right_date, run_id, removed_at, restored_at, xmin AS xmin, cmin AS cmin, row_data || '{}'::jsonb AS row_data
    FROM "prop_trading_model".recon_removed_rows WHERE removed_id = ANY({{ids}}::bigint[])
    OFFSET 0
)
