-- Dates that a run reads once for all of its batches. The staged rows belong to the run, not to the
-- worker that read them.

CREATE TABLE prop_trading_model.recon_shared_reads (
    run_id uuid NOT NULL REFERENCES prop_trading_model.recon_runs ON DELETE CASCADE,
    table_name text NOT NULL,
    days date[] NOT NULL,
    gaps date[] NOT NULL,
    most_rows integer NOT NULL,
    expected_rows integer NOT NULL,
    state text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'proven', 'dropped')),
    read_by uuid,
    fetch_id uuid,
    rows bigint,
    bytes bigint,
    horizon bigint,
    has_unsent boolean,
    reason text,
    PRIMARY KEY (run_id, table_name, days)
);
COMMENT ON TABLE prop_trading_model.recon_shared_reads IS
    'dates of tables that a run reads once for all of its batches; dropped: asked for by id instead';
COMMENT ON COLUMN prop_trading_model.recon_shared_reads.most_rows IS 'beyond, asking by id costs less';
COMMENT ON COLUMN prop_trading_model.recon_shared_reads.gaps IS 'dates of which no table has rows';
COMMENT ON COLUMN prop_trading_model.recon_shared_reads.read_by IS 'the worker that reads it, or read it';
COMMENT ON COLUMN prop_trading_model.recon_shared_reads.horizon IS
    'the oldest transaction under way when the read began: rows written since are newer';
COMMENT ON COLUMN prop_trading_model.recon_shared_reads.reason IS 'why it was dropped';

ALTER TABLE prop_trading_model.recon_fetches ADD COLUMN run_id uuid;
COMMENT ON COLUMN prop_trading_model.recon_fetches.run_id IS
    'the run that shares the fetch, which keeps it until it ends; null: the worker''s own';
