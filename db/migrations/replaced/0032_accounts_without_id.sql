-- Accounts that upstream knows by no id: which natural key a scan saw, and since when a key is held as far as stored rows tell.

ALTER TABLE prop_trading_model.recon_scan ADD COLUMN login text, ADD COLUMN platform text, ADD COLUMN broker text;

ALTER TABLE prop_trading_model.recon_upstream_holders ADD COLUMN first_day date;
COMMENT ON COLUMN prop_trading_model.recon_upstream_holders.first_day IS
    'the first day of the rows that stand under the placeholder of the natural key: they are the account''s';
