-- Copies that were restored say when, and the list of copies, newest first, stays quick on a long history.

ALTER TABLE prop_trading_model.recon_removed_rows ADD COLUMN restored_at timestamptz;
COMMENT ON COLUMN prop_trading_model.recon_removed_rows.restored_at IS 'when the row was brought back from this copy; null: never';

CREATE INDEX recon_removed_rows_of_account ON prop_trading_model.recon_removed_rows (account_id, removed_id);
COMMENT ON INDEX prop_trading_model.recon_removed_rows_of_account IS 'removed: list_removed_rows of an account, newest first';
CREATE INDEX recon_removed_rows_of_run ON prop_trading_model.recon_removed_rows (run_id, removed_id) WHERE run_id IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_removed_rows_of_run IS 'removed: list_removed_rows and get_ids_of_run of a run, newest first';
-- Most copies are of overwritten rows: those are met soon enough on the primary key.
CREATE INDEX recon_removed_rows_of_reason ON prop_trading_model.recon_removed_rows (reason, removed_id) WHERE reason <> 'overwritten';
COMMENT ON INDEX prop_trading_model.recon_removed_rows_of_reason IS 'removed: list_removed_rows of a reason that is rare, newest first';
