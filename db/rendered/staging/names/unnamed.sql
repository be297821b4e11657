-- name: name_staged_rows
-- Assign metrics rows without an account id to the one account that held their natural key on their
-- date; if none is known, to the only one known with the key ($3 to $7: keys of stored rows) that
-- has older rows. Rows fetched by account ids ($2, null: not by id) are these accounts'. An account
-- with an own row gets no second one; of two candidates for one key neither is assigned.
WITH unnamed AS MATERIALIZED (
    SELECT * FROM (
        SELECT ordinal, account_id::text AS placeholder, login::text AS login, platform::text AS platform, coalesce(broker::text, '') AS broker, NULL::date AS day,
               count(*) OVER (PARTITION BY account_id) AS doubled
        FROM "prop_trading_model".recon_stage_alltime
        WHERE fetch_id = $1 AND refused IS NULL AND account_id = md5(login::text || '|' || platform::text || '|' || coalesce(broker::text, ''))
    ) AS rows
    WHERE doubled = 1
), holders AS MATERIALIZED (
    SELECT login, platform, broker, account_id, valid_from, valid_to, open_from, least(daily_from, first_trade) AS first_day
    FROM "prop_trading_model".recon_identity
    WHERE (login, platform, broker) IN (SELECT login, platform, broker FROM unnamed)
    UNION ALL
    SELECT login, platform, broker, account_id, NULL, NULL, NULL, first_day
    FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::date[]) AS stored (account_id, login, platform, broker, first_day)
), known AS (
    SELECT u.ordinal, h.account_id, coalesce(bool_or(h.valid_to = 'infinity' OR h.open_from IS NOT NULL), false) AS holds, coalesce(u.day >= min(h.first_day), u.day IS NULL) AS may_hold
    FROM unnamed AS u
    JOIN holders AS h ON (h.login, h.platform, h.broker) = (u.login, u.platform, u.broker)
    LEFT JOIN "prop_trading_model".recon_stage_alltime AS own ON own.fetch_id = $1 AND own.account_id = h.account_id AND own.account_id <> u.placeholder
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
UPDATE "prop_trading_model".recon_stage_alltime AS s SET account_id = o.owner
FROM owners AS o
WHERE s.fetch_id = $1 AND s.ordinal = o.ordinal AND o.owner <> s.account_id

-- name: holds_key_of
-- Whether a fetch has rows without an id that may be of accounts asked for ($2), by natural key.
SELECT EXISTS (
    SELECT FROM "prop_trading_model".recon_stage_alltime AS s
    JOIN "prop_trading_model".recon_identity AS i ON (i.login, i.platform, i.broker) = (s.login::text, s.platform::text, coalesce(s.broker::text, ''))
    WHERE s.fetch_id = $1 AND i.account_id = ANY($2::text[])
      AND s.account_id = md5(s.login::text || '|' || s.platform::text || '|' || coalesce(s.broker::text, ''))
)
