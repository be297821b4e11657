-- The change feed: which slices of the raw tables trade-recon wrote, for those who compute something from them.

CREATE TABLE prop_trading_model.recon_changes (
    -- The order of the feed. No CACHE: sessions that took ids ahead would give out old ones after newer ones were read.
    change_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id text NOT NULL,
    table_name text NOT NULL,
    days       datemultirange CHECK (NOT isempty(days)),
    entries    bigint NOT NULL CHECK (entries > 0),
    run_id     uuid,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE prop_trading_model.recon_changes IS
    'slices that trade-recon wrote, one row for an account and table of a transaction, in the order of their commits; old rows may be deleted';
COMMENT ON COLUMN prop_trading_model.recon_changes.days IS 'the dates; null where rows have none (alltime)';
COMMENT ON COLUMN prop_trading_model.recon_changes.entries IS 'the number of entries that the row becomes in the feed: one for each date, else one';
COMMENT ON COLUMN prop_trading_model.recon_changes.run_id IS 'null: ids were mended outside a run';
