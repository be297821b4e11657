-- Which rows a run inserted: how many on which dates, in the row that the change feed has of the account, the table and the transaction anyway. The rows
-- themselves are found by the transaction that wrote both, and so need no copy.

ALTER TABLE prop_trading_model.recon_changes ADD COLUMN inserted_days date[], ADD COLUMN inserted_rows integer[];
COMMENT ON COLUMN prop_trading_model.recon_changes.inserted_days IS
    'the dates on which rows were inserted, ascending (null: alltime has none); null where none was, and before version 0130';
COMMENT ON COLUMN prop_trading_model.recon_changes.inserted_rows IS 'how many rows were inserted on each of these dates';
CREATE INDEX recon_changes_inserted_of_account ON prop_trading_model.recon_changes (account_id, change_id) WHERE inserted_rows IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_changes_inserted_of_account IS 'inserted: list_inserted_rows of an account, newest first';
CREATE INDEX recon_changes_inserted_of_run ON prop_trading_model.recon_changes (run_id, change_id) WHERE inserted_rows IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_changes_inserted_of_run IS 'inserted: list_inserted_rows of a run, newest first';
