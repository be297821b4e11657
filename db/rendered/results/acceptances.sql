-- name: get_accepted
-- What is accepted of accounts ($1), whether its date has come or not: a run ends what has.
SELECT account_id::text AS account_id, type, until, figures, seen, was_held
FROM "prop_trading_model".recon_accepted_issues
WHERE account_id = ANY($1::text[]) AND ended_at IS NULL

-- name: lock_account
-- An account's open issues and state, held until the end of the transaction: a run that records it
-- waits, or was first.
SELECT issues, reconciliation_status FROM "prop_trading_model".trade_recon WHERE account_id = $1
    FOR NO KEY UPDATE

-- name: get_open_acceptance
-- The acceptance of an issue ($2) of an account ($1) that is not over.
SELECT acceptance_id, reason, until, figures, seen, was_held, accepted_at, evidence
FROM "prop_trading_model".recon_accepted_issues
WHERE account_id = $1 AND type = $2 AND ended_at IS NULL

-- name: add_acceptance
-- An issue of an account, accepted with its figures.
INSERT INTO "prop_trading_model".recon_accepted_issues
    (account_id, type, reason, until, evidence, figures, seen, was_held)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING accepted_at

-- name: end_acceptance
-- An acceptance is over: as what ($2), and why ($3), where somebody said so.
UPDATE "prop_trading_model".recon_accepted_issues SET ended_at = now(), ended_as = $2,
    ended_reason = $3 WHERE acceptance_id = $1 AND ended_at IS NULL

-- name: get_last_seen
-- How the tables of an account ($1) disagreed when a run recorded it last.
SELECT seen FROM "prop_trading_model".recon_attempts
WHERE account_id = $1 AND finished_at IS NOT NULL AND outcome IS NOT NULL
ORDER BY finished_at DESC
LIMIT 1

-- name: renew_seen
-- Acceptances hold for accounts whose tables disagree so ($1: by account) by now.
UPDATE "prop_trading_model".recon_accepted_issues AS x
SET seen = s.value
FROM jsonb_each_text($1) AS s (account_id, value)
WHERE x.account_id = s.account_id AND x.ended_at IS NULL

-- name: end_acceptances
-- Acceptances are over ($1: accounts and codes, and as what each).
UPDATE "prop_trading_model".recon_accepted_issues AS x
SET ended_at = now(), ended_as = e.ended_as
FROM jsonb_to_recordset($1) AS e (account_id text, type text, ended_as text)
WHERE x.account_id = e.account_id AND x.type = e.type AND x.ended_at IS NULL

-- name: rest_account
-- All that is open of an account is accepted: it backs off no more, and nobody needs to confirm it;
-- a run that has it under way has the last word.
UPDATE "prop_trading_model".trade_recon
SET reconciliation_status = 'explained', failed_attempts = 0, next_attempt_at = NULL,
    explained_as = NULL
WHERE account_id = $1 AND claim_id IS NULL
    AND reconciliation_status
    IN ('failed', 'exhausted', 'needs_reconciliation', 'needs_confirmation', 'flapping')

-- name: count_again
-- Accounts ($1) of which an issue is accepted no more: one that was held before is held again, and
-- another one waits for the next run, unless a run found by itself that what is open is not the
-- warehouse's to heal.
UPDATE "prop_trading_model".trade_recon AS t
SET reconciliation_status = CASE WHEN a.was_held THEN 'needs_confirmation'
    ELSE 'needs_reconciliation' END
FROM jsonb_to_recordset($1) AS a (account_id text, was_held boolean)
WHERE t.account_id = a.account_id AND t.reconciliation_status = 'explained'
    AND (a.was_held OR coalesce(t.explained_as, '') = '')

-- name: count_accepted_issues
-- How many issues are accepted on a date ($1).
SELECT count(*) FROM "prop_trading_model".recon_accepted_issues WHERE ended_at IS NULL
    AND until > coalesce($1::date, current_date)

-- name: list_accepted
-- What is accepted on a date ($1), by the date on which it ends, at most $3; of one account ($2),
-- or of all (null).
SELECT account_id::text AS account_id, type AS issue, reason, until, accepted_at, evidence
FROM "prop_trading_model".recon_accepted_issues
WHERE ended_at IS NULL AND until > coalesce($1::date, current_date)
    AND ($2::text IS NULL OR account_id = $2)
ORDER BY until, account_id, type
LIMIT $3
