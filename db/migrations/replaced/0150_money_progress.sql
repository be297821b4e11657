-- An account whose amounts disagree needs reconciliation, as one whose counts do.

CREATE OR REPLACE VIEW prop_trading_model.v_reconciliation_progress AS
SELECT
    count(*) AS total_accounts,
    count(*) FILTER (WHERE trades_recon_checksum AND mismatched_days = 0 AND mismatched_money = 0 AND issues = '[]') AS reconciled,
    count(*) FILTER (WHERE NOT trades_recon_checksum OR mismatched_days > 0 OR mismatched_money > 0 OR issues <> '[]') AS needs_reconciliation,
    count(*) FILTER (WHERE failed_attempts > 0) AS has_failures,
    count(*) FILTER (WHERE issues <> '[]') AS has_issues,
    coalesce(
        round(100.0 * count(*) FILTER (WHERE trades_recon_checksum AND mismatched_days = 0 AND mismatched_money = 0 AND issues = '[]') / nullif(count(*), 0), 2), 0
    ) AS reconciliation_percentage,
    max(greatest(last_checked, last_reconciled)) AS last_activity,
    min(last_checked) FILTER (WHERE NOT trades_recon_checksum OR mismatched_days > 0 OR mismatched_money > 0 OR issues <> '[]') AS oldest_unreconciled
FROM prop_trading_model.trade_recon;
