-- name: get_stand_ins
-- Ids of $1 that may stand for unknown accounts, as no account has them.
SELECT unnest($1::text[]) AS account_id
EXCEPT
SELECT account_id FROM prop_trading_model.recon_identity WHERE account_id = ANY($1::text[])
