-- name: get_account_keys
-- Known natural keys of accounts ($1).
SELECT account_id, login, platform, broker FROM prop_trading_model.recon_identity WHERE account_id = ANY($1::text[])
