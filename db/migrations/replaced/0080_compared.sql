-- What a run compared row by row, beside the counts: for each account, and for the run by table.

ALTER TABLE prop_trading_model.recon_attempts ADD COLUMN compared jsonb;
COMMENT ON COLUMN prop_trading_model.recon_attempts.compared IS
    'rows, columns and differing rows by table where every row of the account was compared with upstream; null where only counts were';
ALTER TABLE prop_trading_model.recon_runs ADD COLUMN compared jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN prop_trading_model.recon_runs.compared IS
    'rows, columns and differing rows by table, of all accounts whose rows were compared with upstream';
ALTER TABLE prop_trading_model.recon_runs ADD COLUMN named_open_trades jsonb;
COMMENT ON COLUMN prop_trading_model.recon_runs.named_open_trades IS
    'how many open trades of the named accounts upstream''s snapshot has and how many of its dates are stored; null where they were not compared';
