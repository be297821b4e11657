-- name: is_aside_already
-- Whether a function or view (the oid $1) was put aside before in just this form.
SELECT EXISTS (
    SELECT FROM pg_proc AS mine
    JOIN pg_proc AS other ON other.pronamespace = mine.pronamespace AND other.oid <> mine.oid
        AND other.proname ~ ('^' || mine.proname || '_before_trade_recon(_\d+)?$')
        AND (other.proargtypes, other.prorettype, other.proretset, other.prosrc, other.prolang)
            = (mine.proargtypes, mine.prorettype, mine.proretset, mine.prosrc, mine.prolang)
        AND pg_get_function_sqlbody(other.oid) IS NOT DISTINCT
            FROM pg_get_function_sqlbody(mine.oid)
    WHERE mine.oid = $1 AND mine.prokind <> 'a'
    UNION ALL
    SELECT FROM pg_class AS mine
    JOIN pg_class AS other ON other.relnamespace = mine.relnamespace AND other.oid <> mine.oid
        AND other.relkind = mine.relkind
        AND other.relname ~ ('^' || mine.relname || '_before_trade_recon(_\d+)?$')
            AND pg_get_viewdef(other.oid) = pg_get_viewdef(mine.oid)
    WHERE mine.oid = $1 AND mine.relkind IN ('v', 'm')
)

-- name: get_free_name
-- The first name for an object named $1 that is put aside.
SELECT named.name
FROM generate_series(1, 1000) AS number
CROSS JOIN LATERAL
    (SELECT $1::text || '_before_trade_recon' || CASE number WHEN 1 THEN ''
    ELSE '_' || number END AS name) AS named
WHERE NOT EXISTS (
    SELECT FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
        AND relname = named.name
    UNION ALL
    SELECT FROM pg_proc WHERE pronamespace = to_regnamespace(quote_ident('prop_trading_model'))
        AND proname = named.name
)
ORDER BY number
LIMIT 1
