-- name: get_lacking_others
-- Rows without trades in a fetch ($1) that are not stored, of accounts other than those asked for
-- ($2): staging ordinals and dates by account, limited to $3 if given, without those that wait in
-- run $4, if given.
SELECT s.account_id::text AS account_id, array_agg(s.ordinal ORDER BY s.ordinal) AS ordinals, array_agg(DISTINCT s.{{date}}) AS days
FROM {{stage}} AS s
WHERE s.fetch_id = $1 AND s.refused IS NULL AND s.account_id IS NOT NULL AND {{has_no_trades}}
  -- An invalid count may be any number of trades.
  AND NOT 'num_trades (no count)' = ANY(coalesce(s.nulled, '{}'))
  -- A subquery is hashed on every version of PostgreSQL.
  AND s.account_id::text NOT IN (SELECT unnest($2::text[]))
  AND ($3::text[] IS NULL OR s.account_id::text IN (SELECT unnest($3::text[])))
  AND ($4::uuid IS NULL OR s.account_id::text NOT IN (
      SELECT a.account_id FROM prop_trading_model.recon_attempts AS a WHERE a.run_id = $4::uuid AND a.outcome IS NULL
  ))
  AND NOT {{is_stored}}
GROUP BY s.account_id
ORDER BY s.account_id

-- name: lock_free_accounts
-- Lock accounts ($1) that no other claim than ours ($2) holds and that may be written. None if our
-- worker ($4) exceeded its lease ($3).
SELECT t.account_id::text AS account_id
FROM prop_trading_model.trade_recon AS t
WHERE t.account_id = ANY($1::text[]) AND t.reconciliation_status <> 'needs_confirmation'
  AND (
      t.claim_id = $2 OR t.claimed_by IS NULL
      OR t.claimed_at < now() - make_interval(secs => $3)
         AND NOT EXISTS (
             SELECT FROM prop_trading_model.recon_workers AS w
             WHERE w.worker_id = t.claimed_by AND w.heartbeat_at > now() - make_interval(secs => $3)
         )
  )
  AND EXISTS (
      SELECT FROM prop_trading_model.recon_workers AS w WHERE w.worker_id = $4 AND w.heartbeat_at > now() - make_interval(secs => $3)
  )
ORDER BY t.account_id
FOR NO KEY UPDATE OF t SKIP LOCKED

-- name: note_others
-- Record dates ($2) before $3 of accounts ($1) whose rows could not be stored, for audits to read
-- again.
INSERT INTO prop_trading_model.recon_doubted_dates (account_id, date)
SELECT DISTINCT noted.account_id, noted.day
FROM unnest($1::text[], $2::date[]) AS noted (account_id, day)
JOIN prop_trading_model.trade_recon AS t ON t.account_id = noted.account_id
WHERE noted.day < $3::date
ON CONFLICT (account_id, date) DO NOTHING
