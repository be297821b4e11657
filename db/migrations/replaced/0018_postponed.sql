-- An account of which a fetch could not be completed is read once more, behind all other accounts of its run, before that counts as an error.

ALTER TABLE prop_trading_model.recon_attempts ADD COLUMN postponed_until timestamptz;
COMMENT ON COLUMN prop_trading_model.recon_attempts.postponed_until IS
    'a fetch for the account could not be completed: not before this time it is read once more; null: that has not happened in this run';

ALTER TABLE prop_trading_model.recon_runs ADD COLUMN postponed bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN prop_trading_model.recon_runs.postponed IS 'accounts that were put back to be read once more, since a fetch could not be completed';

DROP INDEX prop_trading_model.recon_attempts_waiting;
CREATE INDEX recon_attempts_waiting ON prop_trading_model.recon_attempts (run_id, postponed_until NULLS FIRST, position) WHERE outcome IS NULL;
COMMENT ON INDEX prop_trading_model.recon_attempts_waiting IS
    'claims: claim_accounts takes the accounts of a run in order, postponed ones behind all others; runs: get_run, finish_run, get_run_state';
