-- name: register_fetch
-- Note whose fetch this is before its first row is staged.
INSERT INTO prop_trading_model.recon_fetches (fetch_id, worker_id, table_name) VALUES ($1, $2, $3)

-- name: forget_fetch
-- The fetch has no rows in staging any more.
DELETE FROM prop_trading_model.recon_fetches WHERE fetch_id = $1

-- name: purge_dead_fetches
-- Fetches whose worker has no heartbeat within the lease.
SELECT fetch_id, table_name
FROM prop_trading_model.recon_fetches AS f
WHERE NOT EXISTS (
    SELECT FROM prop_trading_model.recon_workers AS w
    WHERE w.worker_id = f.worker_id AND w.heartbeat_at > now() - make_interval(secs => $1)
)

-- name: holds_any
-- Whether a fetch brought anything of those who were asked for ($2); a row that cannot be held may be theirs.
SELECT EXISTS (SELECT FROM {{stage}} WHERE fetch_id = $1 AND (refused IS NOT NULL OR {{id}}::text = ANY($2::text[])))

-- name: mark_repaired
-- Name the columns of rows ($2) whose values could not be taken as they were sent, beside those that PostgreSQL could not read itself.
UPDATE {{stage}} AS s
SET nulled = ARRAY(SELECT DISTINCT name FROM unnest(coalesce(s.nulled, '{}') || r.columns) AS name ORDER BY name),
    refused = nullif(concat_ws('; ', s.refused, r.reason), ''), source = coalesce(s.source, r.source)
FROM json_to_recordset($2::json) AS r (ordinal bigint, columns text[], reason text, source json)
WHERE s.fetch_id = $1 AND s.ordinal = r.ordinal

-- name: create_staging
-- A staging table that fits its raw table as that stands now: UNLOGGED, since a fetch can always be repeated, and an ordinary
-- table, since a transaction pooler may hand each statement another session.
DROP TABLE IF EXISTS {{stage}};
CREATE UNLOGGED TABLE {{stage}} (
    fetch_id uuid NOT NULL, ordinal bigint NOT NULL, unsent bytea, refused text, nulled text[],
    {{columns}},
    source json
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    -- A fetch that is to be applied is analyzed then, by the few columns that matter.
    autovacuum_analyze_threshold = 2000000000
);
CREATE INDEX ON {{stage}} (fetch_id, ordinal);
CREATE INDEX ON {{stage}} (fetch_id, {{key}});
CREATE INDEX ON {{stage}} (fetch_id) WHERE refused IS NOT NULL OR nulled IS NOT NULL;
ALTER TABLE {{stage}} {{alterations}};
COMMENT ON TABLE {{stage}} IS 'pages on their way in; unsent: the bits of columns that were not sent, null if none is missing; nulled: columns whose value cannot be held; refused: why the row cannot be held'
