-- How an account's tables disagreed when a run recorded its issues: what is accepted is bound to what was judged.

ALTER TABLE prop_trading_model.recon_attempts ADD COLUMN seen text;
COMMENT ON COLUMN prop_trading_model.recon_attempts.seen IS
    'a digest of how the account''s tables disagreed when its issues were recorded; null where none was left, and for attempts of an earlier version';
