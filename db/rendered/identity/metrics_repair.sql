-- name: repair_metrics
-- Move metrics rows of "prop_trading_model".raw_metrics_alltime from an id that is not theirs to their owner, or delete them if it
-- has the row already, keeping a copy of each as locked. Rows that ingestion is writing wait.
WITH -- Rows under placeholders ($4) whose natural key exactly one account held on their date; at most $2
-- after the first $3, which the table rejected.
placeholders AS MATERIALIZED (
    SELECT t."account_id", t.login::text AS login, t.platform::text AS platform, coalesce(t.broker::text, '') AS broker, coalesce(NULL::date, $5::date) AS day
    FROM "prop_trading_model".raw_metrics_alltime AS t
    WHERE t.account_id = ANY($4::text[])
      AND NOT EXISTS (SELECT FROM "prop_trading_model".recon_pins AS p WHERE p.table_name = $1 AND p.row_key = ARRAY[t."account_id"::text]) AND "prop_trading_model".recon_is_placeholder(t.account_id, t.login::text, t.platform::text, t.broker::text)
), judged AS MATERIALIZED (
    -- If two placeholders have one row, the other finds it stored next time.
    SELECT DISTINCT ON (fitting.candidates[1]) p.*, fitting.candidates[1] AS owner, row_number() OVER () AS number
    FROM placeholders AS p
    CROSS JOIN LATERAL (
        SELECT array_agg(DISTINCT i.account_id) AS candidates
        FROM "prop_trading_model".recon_identity AS i
        WHERE (i.login, i.platform, i.broker) = (p.login, p.platform, p.broker)
          AND (p.day BETWEEN i.valid_from AND i.valid_to OR p.day >= i.open_from)
    ) AS fitting
    WHERE cardinality(fitting.candidates) = 1
    ORDER BY fitting.candidates[1]
    LIMIT $2 OFFSET $3
), taken AS MATERIALIZED (
    SELECT DISTINCT m.number FROM judged AS m JOIN "prop_trading_model".raw_metrics_alltime AS t ON t.account_id = m.owner
), known AS MATERIALIZED (
    SELECT m.*, to_jsonb(t) AS old_row
    FROM judged AS m
    JOIN "prop_trading_model".raw_metrics_alltime AS t ON t."account_id" = m."account_id"
    WHERE t.login::text = m.login AND t.platform::text = m.platform AND coalesce(t.broker::text, '') = m.broker
    FOR UPDATE OF t SKIP LOCKED
), doubled AS MATERIALIZED (
    SELECT * FROM known WHERE number IN (SELECT number FROM taken)
), free AS MATERIALIZED (
    SELECT * FROM known WHERE number NOT IN (SELECT number FROM taken)
), removed AS (
    DELETE FROM "prop_trading_model".raw_metrics_alltime AS t USING doubled AS m WHERE t."account_id" = m."account_id" RETURNING m.owner, m.account_id AS holder, m.login, m.day, m.old_row
), reassigned AS (
    UPDATE "prop_trading_model".raw_metrics_alltime AS t SET account_id = m.owner FROM free AS m
    WHERE t."account_id" = m."account_id"
    RETURNING m.owner, m.account_id AS holder, m.login, m.day, m.old_row, t.account_id IS NOT DISTINCT FROM m.owner AS mended
), mended AS (
    SELECT owner, holder, login, day, old_row, true AS is_removed FROM removed
    UNION ALL
    SELECT owner, holder, login, day, old_row, false FROM reassigned WHERE mended
), copies AS (
    INSERT INTO "prop_trading_model".recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT nullif(current_setting('trade_recon.run', true), '')::uuid, owner, $1, NULL::date, 'placeholder', old_row FROM mended
)
SELECT owner AS account_id, holder, count(*) AS rows, count(*) FILTER (WHERE is_removed) AS removed, count(*) FILTER (WHERE true AND holder NOT IN ('', login)) AS md5_rows,
       array_agg(DISTINCT CASE WHEN false THEN day END) AS days, 0::bigint AS resisting
FROM mended
GROUP BY owner, holder
UNION ALL
SELECT NULL, NULL, 0, 0, 0, NULL, count(*) - (SELECT count(*) FROM mended) FROM judged HAVING count(*) > 0

-- name: judge_placeholders
-- Rows under placeholders ($4) whose natural key exactly one account held on their date; at most $2
-- after the first $3, which the table rejected.
placeholders AS MATERIALIZED (
    SELECT t."account_id", t.login::text AS login, t.platform::text AS platform, coalesce(t.broker::text, '') AS broker, coalesce(NULL::date, $5::date) AS day
    FROM "prop_trading_model".raw_metrics_alltime AS t
    WHERE t.account_id = ANY($4::text[])
      AND NOT EXISTS (SELECT FROM "prop_trading_model".recon_pins AS p WHERE p.table_name = $1 AND p.row_key = ARRAY[t."account_id"::text]) AND "prop_trading_model".recon_is_placeholder(t.account_id, t.login::text, t.platform::text, t.broker::text)
), judged AS MATERIALIZED (
    -- If two placeholders have one row, the other finds it stored next time.
    SELECT DISTINCT ON (fitting.candidates[1]) p.*, fitting.candidates[1] AS owner, row_number() OVER () AS number
    FROM placeholders AS p
    CROSS JOIN LATERAL (
        SELECT array_agg(DISTINCT i.account_id) AS candidates
        FROM "prop_trading_model".recon_identity AS i
        WHERE (i.login, i.platform, i.broker) = (p.login, p.platform, p.broker)
          AND (p.day BETWEEN i.valid_from AND i.valid_to OR p.day >= i.open_from)
    ) AS fitting
    WHERE cardinality(fitting.candidates) = 1
    ORDER BY fitting.candidates[1]
    LIMIT $2 OFFSET $3

-- name: judge_unsent
-- Rows of accounts ($2) and dates ($3) that upstream does not send for them, whose natural key
-- another account alone holds today, with metrics rows under it on that date.
listed AS MATERIALIZED (
    SELECT t."account_id", t."date", t.login::text AS login, t.platform::text AS platform, coalesce(t.broker::text, '') AS broker, t."date" AS day
    FROM unnest($2::text[], $3::date[]) AS unsent (account_id, day)
    JOIN "prop_trading_model".raw_metrics_daily AS t ON t.account_id = unsent.account_id AND t."date" = unsent.day
      AND NOT EXISTS (SELECT FROM "prop_trading_model".recon_pins AS p WHERE p.table_name = $1 AND p.row_key = ARRAY[t."account_id"::text, t."date"::text])
), owners AS MATERIALIZED (
    SELECT p.login, p.platform, p.broker, p.account_id AS holder, p.day, min(i.account_id) AS owner
    FROM (SELECT DISTINCT login, platform, broker, account_id, day FROM listed) AS p
    JOIN "prop_trading_model".recon_identity AS i ON (i.login, i.platform, i.broker) = (p.login, p.platform, p.broker) AND i.today
    GROUP BY p.login, p.platform, p.broker, p.account_id, p.day
    HAVING count(*) = 1 AND min(i.account_id) <> p.account_id
), borne_out AS MATERIALIZED (
    SELECT DISTINCT o.login, o.platform, o.broker, o.holder, o.owner, o.day
    FROM owners AS o
    JOIN "prop_trading_model".raw_metrics_daily AS t ON t.account_id = o.owner AND t.login::text = o.login AND t.date = o.day
    WHERE t.platform::text = o.platform AND coalesce(t.broker::text, '') = o.broker
    UNION
    SELECT o.login, o.platform, o.broker, o.holder, o.owner, o.day
    FROM owners AS o
    JOIN "prop_trading_model".raw_metrics_hourly AS t ON t.account_id = o.owner AND t.login::text = o.login AND t.date = o.day
    WHERE t.platform::text = o.platform AND coalesce(t.broker::text, '') = o.broker
), judged AS MATERIALIZED (
    -- If two accounts have a third one's row, the other finds it stored next time.
    SELECT DISTINCT ON (b.owner, l."date") l.*, b.owner, row_number() OVER () AS number
    FROM listed AS l
    JOIN borne_out AS b ON (b.login, b.platform, b.broker, b.holder, b.day) = (l.login, l.platform, l.broker, l.account_id, l.day)
    ORDER BY b.owner, l."date"
