-- name: is_list_filled
-- Whether the account list was filled before.
SELECT relispopulated FROM pg_class WHERE oid = to_regclass('prop_trading_model.mv_all_account_ids')

-- name: fill_list
-- Fill the account list for the first time.
REFRESH MATERIALIZED VIEW prop_trading_model.mv_all_account_ids
