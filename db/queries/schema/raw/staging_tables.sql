-- name: create_staging
-- A staging table that fits its raw table as that stands now: UNLOGGED, since a fetch can always be
-- repeated, and an ordinary table, since a transaction pooler may hand each statement another
-- session.
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
COMMENT ON TABLE {{stage}}
    IS 'pages on their way in; unsent: the bits of columns that were not sent, null if none is missing; nulled: columns whose value cannot be held; refused: why the row cannot be held'
