-- name: register_fetch
-- Note whose fetch this is before its first row is staged.
INSERT INTO prop_trading_model.recon_fetches (fetch_id, worker_id, table_name) VALUES ($1, $2, $3)

-- name: forget_fetch
-- The fetch has no rows in staging any more.
DELETE FROM prop_trading_model.recon_fetches WHERE fetch_id = $1

-- name: purge_dead_fetches
-- Fetches whose worker has no heartbeat within the lease.
SELECT fetch_id, table_name
FROM prop_trading_model.recon_fetches AS f
WHERE NOT EXISTS (
    SELECT FROM prop_trading_model.recon_workers AS w
    WHERE w.worker_id = f.worker_id AND w.heartbeat_at > now() - make_interval(secs => $1)
)

-- name: holds_any
-- Whether a fetch brought anything of those who were asked for ($2); a row that cannot be held may be theirs.
SELECT EXISTS (SELECT FROM {{stage}} WHERE fetch_id = $1 AND (refused IS NOT NULL OR {{id}}::text = ANY($2::text[])))

-- name: get_stored_keys
-- The natural keys under which rows of accounts ($1) are stored, and the first date of each.
SELECT account_id, login, platform, broker, min(day) AS first_day
FROM (
    SELECT account_id::text, login::text, platform::text, coalesce(broker::text, '') AS broker, NULL::date AS day
    FROM prop_trading_model.raw_metrics_alltime
    WHERE account_id = ANY($1::text[])
    UNION ALL
    SELECT account_id::text, login::text, platform::text, coalesce(broker::text, ''), min(date)
    FROM prop_trading_model.raw_metrics_daily
    WHERE account_id = ANY($1::text[]) AND date BETWEEN '0001-01-01' AND '9999-12-31'
    GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT account_id::text, login::text, platform::text, coalesce(broker::text, ''), min(date)
    FROM prop_trading_model.raw_metrics_hourly
    WHERE account_id = ANY($1::text[]) AND date BETWEEN '0001-01-01' AND '9999-12-31'
    GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT account_id::text, login::text, platform::text, coalesce(broker::text, ''), min(trade_date)
    FROM prop_trading_model.raw_trades_closed
    WHERE account_id = ANY($1::text[]) AND trade_date BETWEEN '0001-01-01' AND '9999-12-31'
    GROUP BY 1, 2, 3, 4
) AS stored
WHERE login IS NOT NULL AND platform IS NOT NULL
GROUP BY account_id, login, platform, broker

-- name: get_known_logins
-- Logins that equal numbers ($1) when their leading zeros are left out: of the accounts ($4), and (without an account) of the numbers' platforms and
-- brokers ($2, $3).
WITH sent AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS s (login, platform, broker, account_id)
), keys AS MATERIALIZED (
    SELECT DISTINCT login, platform, broker FROM sent
)
SELECT DISTINCT i.account_id, s.login, NULL AS platform, NULL AS broker, i.login AS known
FROM sent AS s
JOIN prop_trading_model.recon_identity AS i ON i.account_id = s.account_id AND ltrim(i.login, '0') = ltrim(s.login, '0')
UNION ALL
SELECT NULL, k.login, k.platform, k.broker, k.login
FROM keys AS k
WHERE EXISTS (
    SELECT FROM prop_trading_model.recon_identity AS i WHERE (i.login, i.platform, i.broker) = (k.login, k.platform, k.broker)
)
UNION ALL
SELECT DISTINCT NULL, k.login, k.platform, k.broker, i.login
FROM keys AS k
JOIN prop_trading_model.recon_identity AS i
  ON i.login LIKE '0%' AND ltrim(i.login, '0') = ltrim(k.login, '0') AND (i.platform, i.broker) = (k.platform, k.broker) AND i.login <> k.login

-- name: get_account_keys
-- The natural keys that accounts ($1) are known by.
SELECT account_id, login, platform, broker FROM prop_trading_model.recon_identity WHERE account_id = ANY($1::text[])

-- name: get_shared_ids
-- Ids that tell no account, since upstream sends them for several natural keys.
SELECT account_id FROM prop_trading_model.recon_shared_ids

-- name: part_shared_ids
-- Metrics rows of a fetch by logins under an id that several natural keys have at once are known by the placeholders of their natural keys.
WITH shared AS MATERIALIZED (
    SELECT DISTINCT account_id
    FROM {{stage}}
    WHERE fetch_id = $1 AND refused IS NULL AND account_id <> '' AND login IS NOT NULL AND platform IS NOT NULL
    GROUP BY {{key}}
    HAVING count(DISTINCT (login::text, platform::text, coalesce(broker::text, ''))) > 1
), learned AS (
    INSERT INTO prop_trading_model.recon_shared_ids (account_id) SELECT account_id::text FROM shared ON CONFLICT DO NOTHING
)
UPDATE {{stage}} AS s SET account_id = md5(s.login::text || '|' || s.platform::text || '|' || coalesce(s.broker::text, ''))
FROM shared AS h
WHERE s.fetch_id = $1 AND s.account_id = h.account_id AND s.login IS NOT NULL AND s.platform IS NOT NULL

-- name: name_staged_rows
-- Give metrics rows that were sent without an account id to the one account that held their natural key on their date; where none is known to, to the only
-- one that is known with the key ($3 to $7: the keys of rows that are stored), if it has older rows. What came for accounts that were asked for by id ($2,
-- null: nobody was) is theirs. An account whose own row came too has no second one; of two such rows under one key none is given to anybody.
WITH unnamed AS MATERIALIZED (
    SELECT * FROM (
        SELECT ordinal, account_id::text AS placeholder, login::text AS login, platform::text AS platform, coalesce(broker::text, '') AS broker, {{day}} AS day{{others}},
               count(*) OVER (PARTITION BY account_id{{others}}) AS doubled
        FROM {{stage}}
        WHERE fetch_id = $1 AND refused IS NULL AND account_id = md5(login::text || '|' || platform::text || '|' || coalesce(broker::text, ''))
    ) AS rows
    WHERE doubled = 1
), holders AS MATERIALIZED (
    SELECT login, platform, broker, account_id, valid_from, valid_to, open_from, least(daily_from, first_trade) AS first_day
    FROM prop_trading_model.recon_identity
    WHERE (login, platform, broker) IN (SELECT login, platform, broker FROM unnamed)
    UNION ALL
    SELECT login, platform, broker, account_id, NULL, NULL, NULL, first_day
    FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::date[]) AS stored (account_id, login, platform, broker, first_day)
), known AS (
    SELECT u.ordinal, h.account_id, coalesce(bool_or({{holds}}), false) AS holds, coalesce(u.day >= min(h.first_day), u.day IS NULL) AS may_hold
    FROM unnamed AS u
    JOIN holders AS h ON (h.login, h.platform, h.broker) = (u.login, u.platform, u.broker)
    LEFT JOIN {{stage}} AS own ON own.fetch_id = $1 AND own.account_id = h.account_id{{same_key}} AND own.account_id <> u.placeholder
    WHERE own.fetch_id IS NULL AND ($2::text[] IS NULL OR h.account_id = ANY($2::text[]))
    GROUP BY u.ordinal, u.day, h.account_id
), owners AS (
    SELECT ordinal, CASE
        WHEN count(*) FILTER (WHERE holds) = 1 THEN min(account_id) FILTER (WHERE holds)
        WHEN count(*) = 1 AND ($2::text[] IS NOT NULL OR bool_and(may_hold)) THEN min(account_id)
    END AS owner
    FROM known
    GROUP BY ordinal
)
UPDATE {{stage}} AS s SET account_id = o.owner
FROM owners AS o
WHERE s.fetch_id = $1 AND s.ordinal = o.ordinal AND o.owner <> s.account_id

-- name: holds_key_of
-- Whether a fetch brought rows without an account id that may be of one of those who were asked for ($2): with a natural key of theirs.
SELECT EXISTS (
    SELECT FROM {{stage}} AS s
    JOIN prop_trading_model.recon_identity AS i ON (i.login, i.platform, i.broker) = (s.login::text, s.platform::text, coalesce(s.broker::text, ''))
    WHERE s.fetch_id = $1 AND i.account_id = ANY($2::text[])
      AND s.account_id = md5(s.login::text || '|' || s.platform::text || '|' || coalesce(s.broker::text, ''))
)

-- name: leave_out_rows
-- Rows of a proven fetch of before the first date that is compared ($2): taken out, and what they count, by account and date.
WITH gone AS (
    DELETE FROM {{stage}} WHERE fetch_id = $1 AND {{day}} < $2::date
    RETURNING account_id::text AS account_id, {{day}} AS day, {{count}} AS trades, {{net_profit}} AS net_profit, {{total_lots}} AS total_lots
)
SELECT account_id, day, count(*) AS rows, sum(trades)::bigint AS trades, sum(net_profit) AS net_profit, sum(total_lots) AS total_lots
FROM gone
GROUP BY account_id, day

-- name: renumber_first
-- The first row that is left becomes the first of all, unless that is left itself.
UPDATE {{stage}} SET ordinal = 1
WHERE fetch_id = $1 AND ordinal = (SELECT min(ordinal) FROM {{stage}} WHERE fetch_id = $1) AND ordinal > 1

-- name: mark_repaired
-- Name the columns of rows ($2) whose values could not be taken as they were sent, beside those that PostgreSQL could not read itself.
UPDATE {{stage}} AS s
SET nulled = ARRAY(SELECT DISTINCT name FROM unnest(coalesce(s.nulled, '{}') || r.columns) AS name ORDER BY name),
    refused = nullif(concat_ws('; ', s.refused, r.reason), ''), source = coalesce(s.source, r.source)
FROM json_to_recordset($2::json) AS r (ordinal bigint, columns text[], reason text, source json)
WHERE s.fetch_id = $1 AND s.ordinal = r.ordinal

-- name: create_staging
-- A staging table that fits its raw table as that stands now: UNLOGGED, since a fetch can always be repeated, and an ordinary
-- table, since a transaction pooler may hand each statement another session.
DROP TABLE IF EXISTS {{stage}};
CREATE UNLOGGED TABLE {{stage}} (
    fetch_id uuid NOT NULL, ordinal bigint NOT NULL, unsent bytea, refused text, nulled text[],
    {{columns}},
    source json
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    -- A fetch that is to be applied is analyzed then, by the few columns that matter.
    autovacuum_analyze_threshold = 2000000000
);
CREATE INDEX ON {{stage}} (fetch_id, ordinal);
CREATE INDEX ON {{stage}} (fetch_id, {{key}});
CREATE INDEX ON {{stage}} (fetch_id) WHERE refused IS NOT NULL OR nulled IS NOT NULL;
ALTER TABLE {{stage}} {{alterations}};
COMMENT ON TABLE {{stage}} IS 'pages on their way in; unsent: the bits of columns that were not sent, null if none is missing; nulled: columns whose value cannot be held; refused: why the row cannot be held'
