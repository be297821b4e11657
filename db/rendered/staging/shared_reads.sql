-- name: plan_read
-- Plan a read of run $1: dates ($3) of table $2, of which $4 are gaps; most ($5) and expected ($6)
-- rows.
INSERT INTO "prop_trading_model".recon_shared_reads
    (run_id, table_name, days, gaps, most_rows, expected_rows)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING

-- name: get_reads
-- The reads of a run that are not dropped.
SELECT table_name, days, gaps, most_rows, expected_rows
FROM "prop_trading_model".recon_shared_reads
WHERE run_id = $1 AND state <> 'dropped'

-- name: get_read
-- One read.
SELECT state, fetch_id, rows, horizon, has_unsent, reason
FROM "prop_trading_model".recon_shared_reads
WHERE run_id = $1 AND table_name = $2 AND days = $3::date[]

-- name: take_read
-- Let worker $4 read it, unless another live one (lease $5) does; drop it if its rows, $6 bytes
-- each, and those of all other reads exceed $7 bytes.
UPDATE "prop_trading_model".recon_shared_reads AS r
SET read_by = $4,
    state = CASE WHEN room.is_left THEN r.state ELSE 'dropped' END,
    reason = CASE WHEN NOT room.is_left THEN 'staging has no room for it' END
FROM (
    SELECT coalesce(sum(coalesce(o.bytes, o.expected_rows * $6::bigint)), 0) + (
        SELECT w.expected_rows * $6::bigint FROM "prop_trading_model".recon_shared_reads AS w
        WHERE w.run_id = $1 AND w.table_name = $2 AND w.days = $3::date[]
    ) <= $7::bigint AS is_left
    FROM "prop_trading_model".recon_shared_reads AS o
    JOIN "prop_trading_model".recon_runs AS run ON run.run_id = o.run_id
        AND run.status IN ('queued', 'running')
    WHERE (o.state = 'proven' OR o.state = 'planned' AND o.read_by IS NOT NULL)
        AND (o.run_id, o.table_name, o.days) <> ($1, $2, $3::date[])
) AS room
WHERE r.run_id = $1 AND r.table_name = $2 AND r.days = $3::date[] AND r.state = 'planned'
  AND (r.read_by IS NULL OR r.read_by = $4 OR NOT EXISTS (
      SELECT FROM "prop_trading_model".recon_workers AS w
      WHERE w.worker_id = r.read_by AND w.heartbeat_at > now() - make_interval(secs => $5)
  ))
RETURNING r.state

-- name: give_read_back
-- Worker $4 reads it no more.
UPDATE "prop_trading_model".recon_shared_reads SET read_by = NULL
WHERE run_id = $1 AND table_name = $2 AND days = $3::date[] AND state = 'planned' AND read_by = $4

-- name: drop_read
-- Have its accounts asked for by id instead, for reason $4.
UPDATE "prop_trading_model".recon_shared_reads SET state = 'dropped', reason = $4
WHERE run_id = $1 AND table_name = $2 AND days = $3::date[] AND state <> 'dropped'

-- name: keep_read
-- Hand fetch $5 of worker $4 over to the run.
WITH kept AS (
    UPDATE "prop_trading_model".recon_shared_reads AS r
    SET state = 'proven', fetch_id = $5, rows = $6, bytes = $7, horizon = $8, has_unsent = $9
    WHERE r.run_id = $1 AND r.table_name = $2 AND r.days = $3::date[] AND r.state = 'planned'
        AND r.read_by = $4
    RETURNING 1
)
UPDATE "prop_trading_model".recon_fetches SET run_id = $1
WHERE fetch_id = $5 AND EXISTS (SELECT FROM kept)

-- name: measure_fetch
-- Bytes of a staged fetch; null if a row names no {{owner}}.
SELECT CASE WHEN coalesce(bool_and({{owner}} IS NOT NULL), true)
    THEN coalesce(sum(pg_column_size(s.*)), 0)::bigint END
FROM "prop_trading_model".recon_stage_daily AS s
WHERE fetch_id = $1

-- name: lock_fetch
-- Whether the fetch is registered and its first row is there; it is not dropped until the commit.
WITH locked AS MATERIALIZED (
    SELECT fetch_id FROM "prop_trading_model".recon_fetches WHERE fetch_id = $1 FOR KEY SHARE
)
SELECT EXISTS (
    SELECT FROM locked
    WHERE $2::bigint = 0 OR (SELECT count(*) FROM "prop_trading_model".recon_stage_daily WHERE fetch_id = $1 AND ordinal = 1) > 0
)

-- name: copy_rows
-- Copy the rows of {{owner}} in $3 from fetch $2 to fetch $1; their number by account.
WITH copied AS (
    INSERT INTO "prop_trading_model".recon_stage_daily (fetch_id, ordinal, unsent, nulled, refused, source, "account_id", "date", "login", "plan_id", "trader_id", "status", "type", "phase", "broker", "platform", "price_stream", "country", "days_to_next_payout", "todays_payouts", "approved_payouts", "pending_payouts", "starting_balance", "prior_days_balance", "prior_days_equity", "current_balance", "current_equity", "first_trade_date", "days_since_initial_deposit", "days_since_first_trade", "num_trades", "net_profit", "gross_profit", "gross_loss", "gain_to_pain", "profit_factor", "success_rate", "expectancy", "mean_profit", "median_profit", "std_profits", "risk_adj_profit", "min_profit", "max_profit", "profit_perc_10", "profit_perc_25", "profit_perc_75", "profit_perc_90", "profit_top_10_prcnt_trades", "profit_bottom_10_prcnt_trades", "top_10_prcnt_profit_contrib", "bottom_10_prcnt_loss_contrib", "one_std_outlier_profit", "one_std_outlier_profit_contrib", "two_std_outlier_profit", "two_std_outlier_profit_contrib", "net_profit_per_usd_volume", "gross_profit_per_usd_volume", "gross_loss_per_usd_volume", "distance_gross_profit_loss_per_usd_volume", "multiple_gross_profit_loss_per_usd_volume", "gross_profit_per_lot", "gross_loss_per_lot", "distance_gross_profit_loss_per_lot", "multiple_gross_profit_loss_per_lot", "net_profit_per_duration", "gross_profit_per_duration", "gross_loss_per_duration", "mean_ret", "std_rets", "risk_adj_ret", "downside_std_rets", "downside_risk_adj_ret", "rel_net_profit", "rel_gross_profit", "rel_gross_loss", "rel_mean_profit", "rel_median_profit", "rel_std_profits", "rel_risk_adj_profit", "rel_min_profit", "rel_max_profit", "rel_profit_perc_10", "rel_profit_perc_25", "rel_profit_perc_75", "rel_profit_perc_90", "rel_profit_top_10_prcnt_trades", "rel_profit_bottom_10_prcnt_trades", "rel_one_std_outlier_profit", "rel_two_std_outlier_profit", "mean_drawdown", "median_drawdown", "max_drawdown", "mean_num_trades_in_dd", "median_num_trades_in_dd", "max_num_trades_in_dd", "rel_mean_drawdown", "rel_median_drawdown", "rel_max_drawdown", "total_lots", "total_volume", "std_volumes", "mean_winning_lot", "mean_losing_lot", "distance_win_loss_lots", "multiple_win_loss_lots", "mean_winning_volume", "mean_losing_volume", "distance_win_loss_volume", "multiple_win_loss_volume", "mean_duration", "median_duration", "std_durations", "min_duration", "max_duration", "cv_durations", "mean_tp", "median_tp", "std_tp", "min_tp", "max_tp", "cv_tp", "mean_sl", "median_sl", "std_sl", "min_sl", "max_sl", "cv_sl", "mean_tp_vs_sl", "median_tp_vs_sl", "min_tp_vs_sl", "max_tp_vs_sl", "cv_tp_vs_sl", "mean_num_consec_wins", "median_num_consec_wins", "max_num_consec_wins", "mean_num_consec_losses", "median_num_consec_losses", "max_num_consec_losses", "mean_val_consec_wins", "median_val_consec_wins", "max_val_consec_wins", "mean_val_consec_losses", "median_val_consec_losses", "max_val_consec_losses", "mean_num_open_pos", "median_num_open_pos", "max_num_open_pos", "mean_val_open_pos", "median_val_open_pos", "max_val_open_pos", "mean_val_to_eqty_open_pos", "median_val_to_eqty_open_pos", "max_val_to_eqty_open_pos", "mean_account_margin", "mean_firm_margin", "num_traded_symbols", "most_traded_symbol", "most_traded_smb_trades", "ingestion_timestamp", "source_api_endpoint")
    SELECT $1, row_number() OVER (ORDER BY ordinal), unsent, nulled, refused, source, "account_id", "date", "login", "plan_id", "trader_id", "status", "type", "phase", "broker", "platform", "price_stream", "country", "days_to_next_payout", "todays_payouts", "approved_payouts", "pending_payouts", "starting_balance", "prior_days_balance", "prior_days_equity", "current_balance", "current_equity", "first_trade_date", "days_since_initial_deposit", "days_since_first_trade", "num_trades", "net_profit", "gross_profit", "gross_loss", "gain_to_pain", "profit_factor", "success_rate", "expectancy", "mean_profit", "median_profit", "std_profits", "risk_adj_profit", "min_profit", "max_profit", "profit_perc_10", "profit_perc_25", "profit_perc_75", "profit_perc_90", "profit_top_10_prcnt_trades", "profit_bottom_10_prcnt_trades", "top_10_prcnt_profit_contrib", "bottom_10_prcnt_loss_contrib", "one_std_outlier_profit", "one_std_outlier_profit_contrib", "two_std_outlier_profit", "two_std_outlier_profit_contrib", "net_profit_per_usd_volume", "gross_profit_per_usd_volume", "gross_loss_per_usd_volume", "distance_gross_profit_loss_per_usd_volume", "multiple_gross_profit_loss_per_usd_volume", "gross_profit_per_lot", "gross_loss_per_lot", "distance_gross_profit_loss_per_lot", "multiple_gross_profit_loss_per_lot", "net_profit_per_duration", "gross_profit_per_duration", "gross_loss_per_duration", "mean_ret", "std_rets", "risk_adj_ret", "downside_std_rets", "downside_risk_adj_ret", "rel_net_profit", "rel_gross_profit", "rel_gross_loss", "rel_mean_profit", "rel_median_profit", "rel_std_profits", "rel_risk_adj_profit", "rel_min_profit", "rel_max_profit", "rel_profit_perc_10", "rel_profit_perc_25", "rel_profit_perc_75", "rel_profit_perc_90", "rel_profit_top_10_prcnt_trades", "rel_profit_bottom_10_prcnt_trades", "rel_one_std_outlier_profit", "rel_two_std_outlier_profit", "mean_drawdown", "median_drawdown", "max_drawdown", "mean_num_trades_in_dd", "median_num_trades_in_dd", "max_num_trades_in_dd", "rel_mean_drawdown", "rel_median_drawdown", "rel_max_drawdown", "total_lots", "total_volume", "std_volumes", "mean_winning_lot", "mean_losing_lot", "distance_win_loss_lots", "multiple_win_loss_lots", "mean_winning_volume", "mean_losing_volume", "distance_win_loss_volume", "multiple_win_loss_volume", "mean_duration", "median_duration", "std_durations", "min_duration", "max_duration", "cv_durations", "mean_tp", "median_tp", "std_tp", "min_tp", "max_tp", "cv_tp", "mean_sl", "median_sl", "std_sl", "min_sl", "max_sl", "cv_sl", "mean_tp_vs_sl", "median_tp_vs_sl", "min_tp_vs_sl", "max_tp_vs_sl", "cv_tp_vs_sl", "mean_num_consec_wins", "median_num_consec_wins", "max_num_consec_wins", "mean_num_consec_losses", "median_num_consec_losses", "max_num_consec_losses", "mean_val_consec_wins", "median_val_consec_wins", "max_val_consec_wins", "mean_val_consec_losses", "median_val_consec_losses", "max_val_consec_losses", "mean_num_open_pos", "median_num_open_pos", "max_num_open_pos", "mean_val_open_pos", "median_val_open_pos", "max_val_open_pos", "mean_val_to_eqty_open_pos", "median_val_to_eqty_open_pos", "max_val_to_eqty_open_pos", "mean_account_margin", "mean_firm_margin", "num_traded_symbols", "most_traded_symbol", "most_traded_smb_trades", "ingestion_timestamp", "source_api_endpoint"
    FROM "prop_trading_model".recon_stage_daily
    WHERE fetch_id = $2 AND {{are_of_days}} AND {{owner}} = ANY($3::text[]::{{owner_type}}[])
    RETURNING account_id
)
SELECT account_id, count(*) AS rows FROM copied GROUP BY account_id
