-- Accounts that left trade_recon while they waited in a run: they end in it as gone, instead of keeping it from its end.

-- Not validated: no row can break it, and the table may be long.
ALTER TABLE prop_trading_model.recon_attempts
    DROP CONSTRAINT recon_attempts_outcome_check,
    ADD CONSTRAINT recon_attempts_outcome_check
        CHECK (outcome IN ('unchanged', 'healed', 'explained', 'partial', 'failed', 'flapping', 'needs_confirmation', 'gone')) NOT VALID;
ALTER TABLE prop_trading_model.recon_runs ADD COLUMN gone bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN prop_trading_model.recon_runs.gone IS 'accounts whose row of trade_recon was deleted while they waited in the run';
