-- name: is_staged
-- Whether the first row of a fetch is still staged.
SELECT EXISTS (SELECT FROM "prop_trading_model".recon_stage_daily WHERE fetch_id = $1 AND ordinal = 1)
