-- A run that a guard stops says which of two causes it met: upstream lowers figures of accounts, or too many rows of accounts would be rewritten.

ALTER TABLE prop_trading_model.recon_run_losses ADD COLUMN rewrites boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN prop_trading_model.recon_run_losses.rewrites IS
    'the account counts only since too many of its rows would be rewritten: upstream lowers none of its figures';
