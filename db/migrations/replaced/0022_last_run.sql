-- The report names the newest run that ended, each second of each process; the runs of months are many where accounts are healed by name.

CREATE INDEX recon_runs_finished ON prop_trading_model.recon_runs (finished_at) WHERE finished_at IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_runs_finished IS 'report: get_last_run';
