-- Dates whose trades all lie in one hourly row though they are many: shown for information, and no disagreement.

CREATE TABLE prop_trading_model.recon_few_hours (
    account_id varchar(255) PRIMARY KEY,
    dates      date[] NOT NULL,
    noted_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE prop_trading_model.recon_few_hours IS
    'accounts with dates of more than ten trades and a single hourly row (suspiciously_few_hours): shown, never healed; kept up by maintenance and runs';

CREATE OR REPLACE FUNCTION prop_trading_model.get_issue_statistics()
RETURNS TABLE (issue_type text, severity integer, account_count bigint, sample_accounts text[])
LANGUAGE sql STABLE AS $$
    SELECT issue ->> 'type', CASE WHEN issue ->> 'severity' ~ '^\d{1,9}$' THEN (issue ->> 'severity')::integer END, count(DISTINCT account_id),
           (array_agg(DISTINCT account_id::text))[1:5]
    FROM prop_trading_model.trade_recon, jsonb_array_elements(CASE jsonb_typeof(issues) WHEN 'array' THEN issues ELSE '[]' END) AS issue
    WHERE issues <> '[]'
    GROUP BY 1, 2
    UNION ALL
    SELECT 'suspiciously_few_hours', 5, count(*), (array_agg(account_id::text ORDER BY account_id))[1:5]
    FROM prop_trading_model.recon_few_hours
    HAVING count(*) > 0
    ORDER BY 2, 3 DESC, 1
$$;
