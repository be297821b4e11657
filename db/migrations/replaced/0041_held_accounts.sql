-- A run tells how many of the accounts that it leaves held were not held before, and since which run the others are.

ALTER TABLE prop_trading_model.recon_runs
    ADD COLUMN newly_held bigint NOT NULL DEFAULT 0,
    ADD COLUMN held_since uuid;
COMMENT ON COLUMN prop_trading_model.recon_runs.newly_held IS 'of the accounts that need confirmation, those that were not held before the run';
COMMENT ON COLUMN prop_trading_model.recon_runs.held_since IS 'the earliest run since which some of the others are held; null where that is this run, or not known';
CREATE INDEX recon_runs_holding ON prop_trading_model.recon_runs (finished_at) WHERE needs_confirmation > 0;
COMMENT ON INDEX prop_trading_model.recon_runs_holding IS 'report: get_holding_run';
