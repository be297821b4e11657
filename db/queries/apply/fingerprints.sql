-- name: get_fingerprints
-- Fingerprints of slices of {{raw}}: any insert, update or delete by others changes count or sum.
SELECT account_id, sum(rows)::bigint AS rows, sum(versions)::bigint AS versions
FROM (
    SELECT account_id::text, count(*) AS rows, sum(t.xmin::text::bigint) AS versions
    FROM {{raw}} AS t
    WHERE account_id = ANY($1::text[]) AND {{in_slice_second}}
    GROUP BY account_id
    {{without_id}}
) AS parts
GROUP BY account_id

-- name: get_fingerprints_without_id
-- Trades without an id count for each account that ever held their natural key, since ingestion
-- fills the id later.
UNION ALL
SELECT i.account_id, count(*), sum(t.xmin::text::bigint)
FROM prop_trading_model.recon_identity AS i
JOIN {{raw}} AS t ON t.account_id IS NULL AND t.login::text = i.login AND t.platform::text = i.platform AND coalesce(t.broker::text, '') = i.broker
WHERE i.account_id = ANY($1::text[]) AND {{in_slice_second}}
GROUP BY i.account_id

-- name: get_horizon
-- All later commits have this transaction id or a higher one.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint

-- name: get_newer_slices
-- Accounts ($1) with rows in their slices ($2) that another transaction may have written since the
-- horizon $3.
SELECT t.account_id::text AS account_id
FROM {{raw}} AS t
WHERE t.account_id = ANY($1::text[]) AND {{in_slice_second}} AND NOT (age(t.xmin) > pg_current_xact_id()::text::bigint - $3::bigint)
GROUP BY t.account_id
{{without_id}}

-- name: get_newer_slices_without_id
-- The same for trades without an id.
UNION
SELECT i.account_id
FROM prop_trading_model.recon_identity AS i
JOIN {{raw}} AS t ON t.account_id IS NULL AND t.login::text = i.login AND t.platform::text = i.platform AND coalesce(t.broker::text, '') = i.broker
WHERE i.account_id = ANY($1::text[]) AND {{in_slice_second}} AND NOT (age(t.xmin) > pg_current_xact_id()::text::bigint - $3::bigint)
