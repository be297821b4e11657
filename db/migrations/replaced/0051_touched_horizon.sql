-- Runs of only what changed also find rows whose stamp lies off, by what was written since the last run that covers all.

ALTER TABLE prop_trading_model.recon_runs ADD COLUMN covers_horizon bigint;
COMMENT ON COLUMN prop_trading_model.recon_runs.covers_horizon IS
    'transactions from this one on may have committed after covers_until; null for runs of earlier versions';
