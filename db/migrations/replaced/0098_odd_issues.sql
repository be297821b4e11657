-- An entry of issues that an earlier system wrote may be anything: without a type that is a text it is unknown, without a severity from 1 to 5 for information.

CREATE OR REPLACE FUNCTION prop_trading_model.get_issue_statistics()
RETURNS TABLE (issue_type text, severity integer, account_count bigint, sample_accounts text[])
LANGUAGE sql STABLE AS $$
    SELECT CASE jsonb_typeof(issue -> 'type') WHEN 'string' THEN issue ->> 'type' ELSE 'unknown' END,
           CASE WHEN issue ->> 'severity' ~ '^[1-5]$' THEN (issue ->> 'severity')::integer ELSE 5 END, count(DISTINCT account_id),
           (array_agg(DISTINCT account_id::text))[1:5]
    FROM prop_trading_model.trade_recon, jsonb_array_elements(CASE jsonb_typeof(issues) WHEN 'array' THEN issues ELSE '[]' END) AS issue
    WHERE issues <> '[]'
    GROUP BY 1, 2
    ORDER BY 2, 3 DESC, 1
$$;
