-- name: lock_claims
-- Lock accounts still claimed until commit; returns their consecutive failures.
SELECT t.account_id, t.failed_attempts FROM prop_trading_model.trade_recon AS t
WHERE t.account_id = ANY($1::text[]) AND t.claim_id = $2
  -- A worker beyond its lease writes and records nothing, even if its accounts were not reclaimed.
  AND (
      t.claimed_at > now() - make_interval(secs => $3)
      OR EXISTS (
          SELECT FROM prop_trading_model.recon_workers AS w
          WHERE w.worker_id = t.claimed_by AND w.heartbeat_at > now() - make_interval(secs => $3)
      )
  )
ORDER BY t.account_id
FOR NO KEY UPDATE OF t
