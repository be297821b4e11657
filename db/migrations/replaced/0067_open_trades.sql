-- What an audit found of open trades: how many upstream's snapshot has and how many are stored. For the report alone, nothing follows from it.

ALTER TABLE prop_trading_model.recon_runs ADD COLUMN open_trades jsonb;
COMMENT ON COLUMN prop_trading_model.recon_runs.open_trades IS
    'how many open trades upstream''s snapshot has and how many of its dates are stored, by date; null where no audit compared them';
CREATE INDEX recon_runs_open_trades ON prop_trading_model.recon_runs (finished_at) WHERE open_trades IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_runs_open_trades IS 'report: get_open_trades';
