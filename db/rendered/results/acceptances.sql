-- name: get_accepted
-- Acceptances of accounts ($1), expired ones included: a run ends those.
SELECT account_id::text AS account_id, type, until, figures, seen, was_held
FROM "prop_trading_model".recon_accepted_issues
WHERE account_id = ANY($1::text[]) AND ended_at IS NULL

-- name: lock_account
-- Lock an account and return its open issues and state; runs recording it wait.
SELECT issues, reconciliation_status FROM "prop_trading_model".trade_recon WHERE account_id = $1
    FOR NO KEY UPDATE

-- name: get_open_acceptance
-- The acceptance in force of an account's ($1) issue ($2).
SELECT acceptance_id, reason, until, figures, seen, was_held, accepted_at, evidence
FROM "prop_trading_model".recon_accepted_issues
WHERE account_id = $1 AND type = $2 AND ended_at IS NULL

-- name: add_acceptance
-- Accept an issue of an account with its figures.
INSERT INTO "prop_trading_model".recon_accepted_issues
    (account_id, type, reason, until, evidence, figures, seen, was_held)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING accepted_at

-- name: end_acceptance
-- End an acceptance as $2, for an optional reason ($3).
UPDATE "prop_trading_model".recon_accepted_issues SET ended_at = now(), ended_as = $2,
    ended_reason = $3 WHERE acceptance_id = $1 AND ended_at IS NULL

-- name: get_last_seen
-- Digest of the disagreement of an account's ($1) tables at its last recording.
SELECT seen FROM "prop_trading_model".recon_attempts
WHERE account_id = $1 AND finished_at IS NOT NULL AND outcome IS NOT NULL
ORDER BY finished_at DESC
LIMIT 1

-- name: renew_seen
-- Bind acceptances to the newest digests of disagreement ($1: by account).
UPDATE "prop_trading_model".recon_accepted_issues AS x
SET seen = s.value
FROM jsonb_each_text($1) AS s (account_id, value)
WHERE x.account_id = s.account_id AND x.ended_at IS NULL

-- name: end_acceptances
-- End acceptances ($1: accounts, codes and ended_as).
UPDATE "prop_trading_model".recon_accepted_issues AS x
SET ended_at = now(), ended_as = e.ended_as
FROM jsonb_to_recordset($1) AS e (account_id text, type text, ended_as text)
WHERE x.account_id = e.account_id AND x.type = e.type AND x.ended_at IS NULL

-- name: rest_account
-- Let an account rest whose open issues are all accepted: no back-off, no confirmation. A run that
-- has claimed it decides instead.
UPDATE "prop_trading_model".trade_recon
SET reconciliation_status = 'explained', failed_attempts = 0, next_attempt_at = NULL,
    explained_as = NULL
WHERE account_id = $1 AND claim_id IS NULL
    AND reconciliation_status
    IN ('failed', 'exhausted', 'needs_reconciliation', 'needs_confirmation', 'flapping')

-- name: count_again
-- Accounts ($1) with an issue no longer accepted are held again if they were before, and otherwise
-- wait for the next run, unless a run found their open issues explained.
UPDATE "prop_trading_model".trade_recon AS t
SET reconciliation_status = CASE WHEN a.was_held THEN 'needs_confirmation'
    ELSE 'needs_reconciliation' END
FROM jsonb_to_recordset($1) AS a (account_id text, was_held boolean)
WHERE t.account_id = a.account_id AND t.reconciliation_status = 'explained'
    AND (a.was_held OR coalesce(t.explained_as, '') = '')

-- name: count_accepted_issues
-- Number of issues accepted on a date ($1).
SELECT count(*) FROM "prop_trading_model".recon_accepted_issues WHERE ended_at IS NULL
    AND until > coalesce($1::date, current_date)

-- name: list_accepted
-- Acceptances on a date ($1) by end date, at most $3; of one account ($2) or all (null).
SELECT account_id::text AS account_id, type AS issue, reason, until, accepted_at, evidence
FROM "prop_trading_model".recon_accepted_issues
WHERE ended_at IS NULL AND until > coalesce($1::date, current_date)
    AND ($2::text IS NULL OR account_id = $2)
ORDER BY until, account_id, type
LIMIT $3
