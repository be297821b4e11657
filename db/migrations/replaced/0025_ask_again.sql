-- What upstream could only be blamed for is asked about again, with growing pauses: one sick night must not be believed for ever.

ALTER TABLE prop_trading_model.trade_recon
    ADD COLUMN IF NOT EXISTS explained_times integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS ask_again_at timestamptz;
COMMENT ON COLUMN prop_trading_model.trade_recon.explained_times IS 'how many times in a row upstream was asked in vain about the state that explained_as stands for';
COMMENT ON COLUMN prop_trading_model.trade_recon.ask_again_at IS 'until then a full run does not ask again about the state that explained_as stands for';
