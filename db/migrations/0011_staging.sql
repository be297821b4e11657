-- Where fetched pages wait until they are proven whole. UNLOGGED, since a fetch can always be repeated, and ordinary
-- tables, since a transaction pooler may hand each statement another session. The columns are those of the raw table
-- as it stands here.

DO $$
DECLARE
    raw text;
    stage text;
BEGIN
    FOREACH raw IN ARRAY ARRAY['raw_metrics_alltime', 'raw_metrics_daily', 'raw_metrics_hourly', 'raw_trades_closed'] LOOP
        stage := replace(replace(raw, 'raw_metrics', 'recon_stage'), 'raw_trades', 'recon_stage');
        EXECUTE format('CREATE UNLOGGED TABLE %I.%I AS SELECT * FROM %I.%I WITH NO DATA', 'prop_trading_model', stage, 'prop_trading_model', raw);
        EXECUTE format(
            'ALTER TABLE %I.%I ADD COLUMN fetch_id uuid NOT NULL, ADD COLUMN ordinal bigint NOT NULL, '
            'ADD COLUMN shape integer NOT NULL, ADD COLUMN nulled text[], ADD COLUMN refused text, ADD COLUMN source json, '
            'SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000)',
            'prop_trading_model', stage
        );
        EXECUTE format('CREATE INDEX %I ON %I.%I (fetch_id, ordinal)', stage || '_fetch', 'prop_trading_model', stage);
        EXECUTE format(
            'CREATE INDEX %I ON %I.%I (fetch_id, %s)', stage || '_key', 'prop_trading_model', stage,
            CASE raw
                WHEN 'raw_metrics_alltime' THEN 'account_id'
                WHEN 'raw_metrics_daily' THEN 'account_id, date'
                WHEN 'raw_metrics_hourly' THEN 'account_id, date, hour'
                ELSE 'login, position, ticket'
            END
        );
        EXECUTE format(
            'COMMENT ON TABLE %I.%I IS %L', 'prop_trading_model', stage,
            'pages of ' || raw || ' on their way in; shape: which fields were sent; nulled: columns whose number was out of range; refused: why the row cannot be held'
        );
    END LOOP;
END
$$;
