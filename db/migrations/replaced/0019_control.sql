-- Runs that are steered: paused, resumed, cancelled, ended at a time, started once for a key, held until somebody confirms.

ALTER TABLE prop_trading_model.recon_runs
    DROP CONSTRAINT recon_runs_status_check,
    ADD CONSTRAINT recon_runs_status_check CHECK (
        status IN ('queued', 'running', 'paused', 'succeeded', 'completed_with_issues', 'needs_confirmation', 'failed', 'cancelled')
    ),
    ADD COLUMN stop_at timestamptz,
    ADD COLUMN is_sole boolean NOT NULL DEFAULT false,
    ADD COLUMN idempotency_key text,
    ADD COLUMN request_digest text,
    ADD COLUMN confirmed_at timestamptz,
    ADD COLUMN flapping bigint NOT NULL DEFAULT 0,
    ADD COLUMN needs_confirmation bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN prop_trading_model.recon_runs.stop_at IS 'the run ends in order at this time, whatever is left; null: when nothing is left';
COMMENT ON COLUMN prop_trading_model.recon_runs.is_sole IS 'no second run of its sort may be active beside it; false for runs from before this column';
COMMENT ON COLUMN prop_trading_model.recon_runs.request_digest IS 'of the request that came with the idempotency key';
COMMENT ON COLUMN prop_trading_model.recon_runs.confirmed_at IS 'somebody looked at what was held and let it be written: the guards are off for this run';
COMMENT ON COLUMN prop_trading_model.recon_runs.flapping IS 'accounts that were held back, since the same issue opened again and again right after healing';
COMMENT ON COLUMN prop_trading_model.recon_runs.needs_confirmation IS 'accounts that were held, since healing them would rewrite too much or upstream suddenly has nothing for them';

CREATE UNIQUE INDEX recon_runs_sole ON prop_trading_model.recon_runs (is_sole) WHERE is_sole AND status IN ('queued', 'running', 'paused');
COMMENT ON INDEX prop_trading_model.recon_runs_sole IS 'runs: create_run, of two that start a full run at the same time one is refused';
CREATE UNIQUE INDEX recon_runs_idempotency_key ON prop_trading_model.recon_runs (idempotency_key) WHERE idempotency_key IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_runs_idempotency_key IS 'runs: create_run and get_run_of_key';

CREATE INDEX recon_runs_stop_at ON prop_trading_model.recon_runs (stop_at) WHERE stop_at IS NOT NULL AND status IN ('queued', 'running', 'paused');
COMMENT ON INDEX prop_trading_model.recon_runs_stop_at IS 'control: end_overdue_runs, each second of each process';

-- Not validated: no row can break it, and the table may be long.
ALTER TABLE prop_trading_model.recon_attempts
    DROP CONSTRAINT recon_attempts_outcome_check,
    ADD CONSTRAINT recon_attempts_outcome_check
        CHECK (outcome IN ('unchanged', 'healed', 'explained', 'partial', 'failed', 'flapping', 'needs_confirmation')) NOT VALID;
COMMENT ON TABLE prop_trading_model.recon_attempts IS
    'each account of each run: while outcome is null it waits, or was left when the run ended; then what was done';

ALTER TABLE prop_trading_model.recon_issue_history ADD COLUMN reopened integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN prop_trading_model.recon_issue_history.reopened IS
    'how often in a row the same issue of the account was healed before and opened again right after';
CREATE INDEX recon_issue_history_closed ON prop_trading_model.recon_issue_history (closed_at) WHERE closed_at IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_issue_history_closed IS 'retention: purge_issues';

-- More room than before: a claim, a record and the issues that widen a row in between all find their place on its page.
ALTER TABLE prop_trading_model.trade_recon SET (fillfactor = 40);
