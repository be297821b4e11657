-- name: repair_metrics
-- Move metrics rows of {{raw}} from an id that is not theirs to their owner, or delete them if it
-- has the row already, keeping a copy of each as locked. Rows that ingestion is writing wait.
WITH {{judged}}
), taken AS MATERIALIZED (
    SELECT DISTINCT m.number FROM judged AS m JOIN {{raw}} AS t ON {{owner_key}}
), known AS MATERIALIZED (
    SELECT m.*, to_jsonb(t) AS old_row
    FROM judged AS m
    JOIN {{raw}} AS t ON {{same_row}}
    WHERE t.login::text = m.login AND t.platform::text = m.platform AND coalesce(t.broker::text, '') = m.broker
    {{free_to_go}}
), doubled AS MATERIALIZED (
    SELECT * FROM known WHERE number IN (SELECT number FROM taken)
), free AS MATERIALIZED (
    SELECT * FROM known WHERE number NOT IN (SELECT number FROM taken)
), removed AS (
    DELETE FROM {{raw}} AS t USING doubled AS m WHERE {{same_row}} RETURNING m.owner, m.account_id AS holder, m.login, m.day, m.old_row
), reassigned AS (
    UPDATE {{raw}} AS t SET account_id = m.owner FROM free AS m
    WHERE {{same_row}}
    RETURNING m.owner, m.account_id AS holder, m.login, m.day, m.old_row, t.account_id IS NOT DISTINCT FROM m.owner AS mended
), mended AS (
    SELECT owner, holder, login, day, old_row, true AS is_removed FROM removed
    UNION ALL
    SELECT owner, holder, login, day, old_row, false FROM reassigned WHERE mended
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT {{copied}}, old_row FROM mended
)
SELECT owner AS account_id, holder, count(*) AS rows, count(*) FILTER (WHERE is_removed) AS removed, count(*) FILTER (WHERE {{stands_in}} AND holder NOT IN ('', login)) AS md5_rows,
       array_agg(DISTINCT CASE WHEN {{is_dated}} THEN day END) AS days, 0::bigint AS resisting
FROM mended
GROUP BY owner, holder
UNION ALL
SELECT NULL, NULL, 0, 0, 0, NULL, count(*) - (SELECT count(*) FROM mended) FROM judged HAVING count(*) > 0

-- name: judge_placeholders
-- Rows under placeholders ($4) whose natural key exactly one account held on their date; at most $2
-- after the first $3, which the table rejected.
placeholders AS MATERIALIZED (
    SELECT {{t_key}}{{place}}, t.login::text AS login, t.platform::text AS platform, coalesce(t.broker::text, '') AS broker, coalesce({{day_of_t}}, {{maintenance_day}}) AS day
    FROM {{raw}} AS t
    WHERE t.account_id = ANY($4::text[]){{t_since}}{{unpinned}} AND prop_trading_model.recon_is_placeholder(t.account_id, t.login::text, t.platform::text, t.broker::text)
), judged AS MATERIALIZED (
    -- If two placeholders have one row, the other finds it stored next time.
    SELECT DISTINCT ON ({{target}}) p.*, fitting.candidates[1] AS owner, row_number() OVER () AS number
    FROM placeholders AS p
    CROSS JOIN LATERAL (
        SELECT array_agg(DISTINCT i.account_id) AS candidates
        FROM prop_trading_model.recon_identity AS i
        WHERE (i.login, i.platform, i.broker) = (p.login, p.platform, p.broker)
          AND (p.day BETWEEN i.valid_from AND i.valid_to OR p.day >= i.open_from)
    ) AS fitting
    WHERE cardinality(fitting.candidates) = 1
    ORDER BY {{target}}
    LIMIT $2 OFFSET $3

-- name: judge_unsent
-- Rows of accounts ($2) and dates ($3) that upstream does not send for them, whose natural key
-- another account alone holds today, with metrics rows under it on that date.
listed AS MATERIALIZED (
    SELECT {{t_key}}{{place}}, t.login::text AS login, t.platform::text AS platform, coalesce(t.broker::text, '') AS broker, {{day_of_t}} AS day
    FROM unnest($2::text[], $3::date[]) AS unsent (account_id, day)
    JOIN {{raw}} AS t ON t.account_id = unsent.account_id AND {{day_of_t}} = unsent.day{{unpinned}}
), owners AS MATERIALIZED (
    SELECT p.login, p.platform, p.broker, p.account_id AS holder, p.day, min(i.account_id) AS owner
    FROM (SELECT DISTINCT login, platform, broker, account_id, day FROM listed) AS p
    JOIN prop_trading_model.recon_identity AS i ON (i.login, i.platform, i.broker) = (p.login, p.platform, p.broker) AND i.today
    GROUP BY p.login, p.platform, p.broker, p.account_id, p.day
    HAVING count(*) = 1 AND min(i.account_id) <> p.account_id
), borne_out AS MATERIALIZED (
    SELECT DISTINCT o.login, o.platform, o.broker, o.holder, o.owner, o.day
    FROM owners AS o
    JOIN prop_trading_model.raw_metrics_daily AS t ON t.account_id = o.owner AND t.login::text = o.login AND t.date = o.day
    WHERE t.platform::text = o.platform AND coalesce(t.broker::text, '') = o.broker
    UNION
    SELECT o.login, o.platform, o.broker, o.holder, o.owner, o.day
    FROM owners AS o
    JOIN prop_trading_model.raw_metrics_hourly AS t ON t.account_id = o.owner AND t.login::text = o.login AND t.date = o.day
    WHERE t.platform::text = o.platform AND coalesce(t.broker::text, '') = o.broker
), judged AS MATERIALIZED (
    -- If two accounts have a third one's row, the other finds it stored next time.
    SELECT DISTINCT ON ({{unsent_target}}) l.*, b.owner, row_number() OVER () AS number
    FROM listed AS l
    JOIN borne_out AS b ON (b.login, b.platform, b.broker, b.holder, b.day) = (l.login, l.platform, l.broker, l.account_id, l.day)
    ORDER BY {{unsent_target}}
