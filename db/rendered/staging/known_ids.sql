-- name: get_account_keys
-- The natural keys that accounts ($1) are known by.
SELECT account_id, login, platform, broker FROM "prop_trading_model".recon_identity WHERE account_id = ANY($1::text[])
