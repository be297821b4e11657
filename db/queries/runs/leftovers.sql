-- name: count_accounts_left
-- The accounts that a run ($1) leaves: by outcome, whether they are exhausted, and which kinds of
-- open issues they have. Accepted are those of which somebody said so until after $2 (null: today),
-- settling the codes $3; the codes $4 are never news, nor is an absence ($5) that was confirmed.
WITH attempts AS MATERIALIZED (
    SELECT a.account_id, a.outcome, a.confirmed, a.issues_left,
        coalesce(t.reconciliation_status = 'exhausted', false) AS is_exhausted
    FROM prop_trading_model.recon_attempts AS a
    LEFT JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
    WHERE a.run_id = $1 AND (a.outcome IS NULL OR a.outcome NOT IN ('unchanged', 'healed'))
), codes AS (
    SELECT a.account_id, code,
           x.account_id IS NOT NULL AS is_accepted,
           code = ANY($3::text[]) AS is_settling,
           NOT code = ANY($4::text[]) AND NOT (a.confirmed AND code = $5) AND (
               h.account_id IS NOT NULL
               -- One that was accepted and is so no more, since its figures changed or its date
               -- came, is news as well.
               OR EXISTS (
                   SELECT FROM prop_trading_model.recon_accepted_issues AS e
                   WHERE e.account_id = a.account_id AND e.type = code
                       AND e.ended_as IN ('changed', 'expired')
                     AND e.ended_at
                         >= (SELECT r.started_at FROM prop_trading_model.recon_runs AS r
                         WHERE r.run_id = $1)
               )
           ) AS is_first
    FROM attempts AS a
    CROSS JOIN LATERAL unnest(a.issues_left) AS left_codes (code)
    LEFT JOIN prop_trading_model.recon_accepted_issues AS x
        ON x.account_id = a.account_id AND x.type = code AND x.ended_at IS NULL
            AND x.until > coalesce($2::date, current_date)
    LEFT JOIN prop_trading_model.recon_issue_history AS h
        ON h.account_id = a.account_id AND h.type = code AND h.closed_at IS NULL
        -- What maintenance found first is news to the first run that records the account.
        AND (h.opened_run = $1 OR h.opened_run IS NULL AND NOT EXISTS (
            SELECT FROM prop_trading_model.recon_attempts AS o
            WHERE o.account_id = a.account_id AND o.run_id <> $1 AND o.outcome IS NOT NULL
                AND o.finished_at > h.opened_at
        ))
    -- What an inspection found is left as that, whatever its kinds are; of half the warehouse these
    -- would take a minute.
    WHERE a.outcome IS NOT NULL AND a.outcome <> 'found'
), kinds AS (
    SELECT account_id,
           bool_or(is_accepted) AS has_accepted,
           bool_or(NOT is_accepted AND is_settling) AS has_settling,
           bool_or(NOT is_accepted AND NOT is_settling AND is_first) AS has_new,
           bool_or(NOT is_accepted AND NOT is_settling AND NOT is_first) AS has_known
    FROM codes
    GROUP BY account_id
)
SELECT a.outcome, a.is_exhausted, coalesce(k.has_new, false) AS has_new,
    coalesce(k.has_known, false) AS has_known,
       coalesce(k.has_settling, false) AS has_settling,
       coalesce(k.has_accepted, false) AS has_accepted, count(*) AS accounts
FROM attempts AS a
LEFT JOIN kinds AS k USING (account_id)
GROUP BY 1, 2, 3, 4, 5, 6

-- name: get_beside_left
-- What a run ($1) leaves beside its accounts: those that it left out, and how many of these wait
-- for the owner of the tables, which cannot hold rows of theirs; whether its maintenance was not
-- completed, how many accounts were more than it may take, whether no account was known, and
-- whether it was over all accounts.
SELECT
    skipped,
    CASE WHEN skipped > 0 THEN (
        SELECT count(*)
        FROM prop_trading_model.trade_recon AS t
        WHERE t.reconciliation_status IN ('failed', 'partial', 'exhausted')
          AND EXISTS (
              SELECT FROM prop_trading_model.recon_set_aside_rows AS s
              WHERE s.account_id = t.account_id AND NOT starts_with(s.reason, 'stored with')
          )
          AND NOT EXISTS
              (SELECT FROM prop_trading_model.recon_attempts AS a WHERE a.run_id = $1
              AND a.account_id = t.account_id)
    ) ELSE 0 END AS unheld,
    maintenance ? 'incomplete' AS is_incomplete,
    CASE jsonb_typeof(maintenance -> 'accounts_beyond_limit')
        WHEN 'number' THEN (maintenance ->> 'accounts_beyond_limit')::bigint ELSE 0 END AS beyond,
    coalesce(known_accounts = 0, false) AS is_empty,
    request ->> 'account_ids' IS NULL AS is_over_all
FROM prop_trading_model.recon_runs
WHERE run_id = $1

-- name: note_unmatched
-- Record natural keys that fit no account or several as known since run $1, unless they are known
-- already, and forget those that are resolved.
WITH unmatched AS MATERIALIZED (
    SELECT DISTINCT table_name, login, platform, broker
    FROM prop_trading_model.recon_identity_findings
    WHERE cardinality(candidates) <> 1
), matched AS (
    DELETE FROM prop_trading_model.recon_unmatched_keys AS k
    WHERE NOT EXISTS (
        SELECT FROM unmatched AS u
            WHERE (u.table_name, u.login, u.platform, u.broker)
            = (k.table_name, k.login, k.platform, k.broker)
    )
)
INSERT INTO prop_trading_model.recon_unmatched_keys (table_name, login, platform, broker, first_run)
SELECT table_name, login, platform, broker, $1 FROM unmatched
ORDER BY table_name, login, platform, broker
ON CONFLICT DO NOTHING

-- name: count_unmatched
-- Number of natural keys that fit no account or several: those that run $1 was the first to end
-- with in any table, and others.
SELECT count(*) FILTER (WHERE is_new) AS new, count(*) FILTER (WHERE NOT is_new) AS known
FROM (
    SELECT bool_or(first_run = $1) AS is_new
    FROM prop_trading_model.recon_unmatched_keys
    GROUP BY login, platform, broker
) AS keys

-- name: note_leftovers
-- Record what an ended run ($1) left.
UPDATE prop_trading_model.recon_runs SET left_over = $2 WHERE run_id = $1
    AND finished_at IS NOT NULL AND left_over IS NULL
