-- Some of the accounts that a run holds can be confirmed: these alone are worked on then, and the others stay held. Runs are listed, newest first.

ALTER TABLE prop_trading_model.recon_runs ADD COLUMN only_confirmed boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN prop_trading_model.recon_runs.only_confirmed IS
    'only the accounts that somebody confirmed are worked on: the others that are held, and those that the run had not come to, stay as they are';

CREATE INDEX recon_runs_newest ON prop_trading_model.recon_runs (created_at, run_id);
COMMENT ON INDEX prop_trading_model.recon_runs_newest IS 'runs: list_runs';
