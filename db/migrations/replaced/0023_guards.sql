-- Guards that last: what was rewritten of an account until it was whole, what upstream lowers in a run, and what a hold showed.

-- The copies that are there now belong to heals that are over: none of them counts against an account.
DO $$
BEGIN
    EXECUTE format(
        'ALTER TABLE %s ADD COLUMN whole_copy bigint NOT NULL DEFAULT %s',
        'prop_trading_model.trade_recon',
        (SELECT coalesce(max(removed_id), 0) FROM prop_trading_model.recon_removed_rows)
    );
END
$$;
COMMENT ON COLUMN prop_trading_model.trade_recon.whole_copy IS
    'the newest copy in recon_removed_rows when the account was last found whole: rows copied since count together against its guard';

ALTER TABLE prop_trading_model.recon_runs
    ADD COLUMN rows_compared bigint NOT NULL DEFAULT 0,
    ADD COLUMN suspicion text;
COMMENT ON COLUMN prop_trading_model.recon_runs.rows_compared IS 'stored rows that were compared with a complete answer of upstream';
COMMENT ON COLUMN prop_trading_model.recon_runs.suspicion IS
    'why the run was stopped, or is about to be, since upstream is suspect; null again once somebody confirmed it';
COMMENT ON COLUMN prop_trading_model.recon_runs.confirmed_at IS
    'somebody looked at what was held and let it be written: what was shown then is not held again, all else is guarded as before';

ALTER TABLE prop_trading_model.recon_attempts
    ADD COLUMN held jsonb,
    ADD COLUMN confirmed boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN prop_trading_model.recon_attempts.held IS 'what was shown when the account was held: the trades that would be left, and whether figures become empty';
COMMENT ON COLUMN prop_trading_model.recon_attempts.confirmed IS 'somebody confirmed what was shown';

-- Without a foreign key: its check would lock the run's row, which others update, and writes are done in repeatable read.
CREATE TABLE prop_trading_model.recon_run_losses (
    run_id     uuid NOT NULL,
    account_id varchar(255) NOT NULL,
    worker_id  uuid NOT NULL,
    rows       bigint NOT NULL,
    lowers     boolean NOT NULL,
    PRIMARY KEY (run_id, account_id)
);
COMMENT ON TABLE prop_trading_model.recon_run_losses IS
    'what a run takes from accounts that were not held before: its limits count this over all processes; forgotten when somebody confirms the run';
COMMENT ON COLUMN prop_trading_model.recon_run_losses.rows IS 'rows that were removed, moved, lowered or blanked';
COMMENT ON COLUMN prop_trading_model.recon_run_losses.lowers IS 'upstream has lower figures, empty ones or nothing at all, or the account is held';
