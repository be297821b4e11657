-- The function is called by dashboards whose roles may read trade_recon and nothing else of ours: it reads that alone, and leaves out what is for
-- information (suspiciously_few_hours), which the report shows.

CREATE OR REPLACE FUNCTION prop_trading_model.get_issue_statistics()
RETURNS TABLE (issue_type text, severity integer, account_count bigint, sample_accounts text[])
LANGUAGE sql STABLE AS $$
    SELECT issue ->> 'type', CASE WHEN issue ->> 'severity' ~ '^\d{1,9}$' THEN (issue ->> 'severity')::integer END, count(DISTINCT account_id),
           (array_agg(DISTINCT account_id::text))[1:5]
    FROM prop_trading_model.trade_recon, jsonb_array_elements(CASE jsonb_typeof(issues) WHEN 'array' THEN issues ELSE '[]' END) AS issue
    WHERE issues <> '[]'
    GROUP BY 1, 2
    ORDER BY 2, 3 DESC, 1
$$;
