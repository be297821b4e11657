-- Inspections: runs that detect and heal nothing. What they found is kept by run, and an account that needs reconciliation is one that disagrees or has an issue.

-- Not validated: no row can break it, and the tables may be long.
ALTER TABLE prop_trading_model.recon_runs
    DROP CONSTRAINT recon_runs_kind_check,
    ADD CONSTRAINT recon_runs_kind_check CHECK (kind IN ('full', 'retry', 'audit', 'inspect')) NOT VALID,
    ADD COLUMN found bigint NOT NULL DEFAULT 0,
    ADD COLUMN known_accounts bigint;
COMMENT ON COLUMN prop_trading_model.recon_runs.found IS 'accounts at which an inspection found an issue that is more than information';
COMMENT ON COLUMN prop_trading_model.recon_runs.known_accounts IS
    'the accounts that were known when those of the run were chosen; null: not chosen yet, or by an earlier version';
ALTER TABLE prop_trading_model.recon_attempts
    DROP CONSTRAINT recon_attempts_outcome_check,
    ADD CONSTRAINT recon_attempts_outcome_check
        CHECK (outcome IN ('unchanged', 'healed', 'explained', 'partial', 'failed', 'flapping', 'needs_confirmation', 'gone', 'found')) NOT VALID;

CREATE TABLE prop_trading_model.recon_inspection_figures (
    figures_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     uuid NOT NULL,
    figures    jsonb NOT NULL
);
CREATE INDEX recon_inspection_figures_run ON prop_trading_model.recon_inspection_figures (run_id);
COMMENT ON INDEX prop_trading_model.recon_inspection_figures_run IS 'inspections: get_inspection_figures';
COMMENT ON TABLE prop_trading_model.recon_inspection_figures IS
    'what inspections counted by issue, table, broker and date: a row a batch, written with its accounts, and summed up when they are read';

CREATE OR REPLACE VIEW prop_trading_model.v_reconciliation_progress AS
SELECT
    count(*) AS total_accounts,
    count(*) FILTER (WHERE trades_recon_checksum AND mismatched_days = 0 AND issues = '[]') AS reconciled,
    count(*) FILTER (WHERE NOT trades_recon_checksum OR mismatched_days > 0 OR issues <> '[]') AS needs_reconciliation,
    count(*) FILTER (WHERE failed_attempts > 0) AS has_failures,
    count(*) FILTER (WHERE issues <> '[]') AS has_issues,
    coalesce(round(100.0 * count(*) FILTER (WHERE trades_recon_checksum AND mismatched_days = 0 AND issues = '[]') / nullif(count(*), 0), 2), 0)
        AS reconciliation_percentage,
    max(greatest(last_checked, last_reconciled)) AS last_activity,
    min(last_checked) FILTER (WHERE NOT trades_recon_checksum OR mismatched_days > 0 OR issues <> '[]') AS oldest_unreconciled
FROM prop_trading_model.trade_recon;
