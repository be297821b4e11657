-- An audit says itself whether it compared enough of the warehouse to find upstream well: its status tells only that it is over.

ALTER TABLE prop_trading_model.recon_runs ADD COLUMN upstream_well boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN prop_trading_model.recon_runs.upstream_well IS
    'whether the run, an audit, compared the accounts with upstream and found it well: after that, suspicions of earlier runs are over';

-- Of audits before this column only those count that compared all accounts and were done with each.
UPDATE prop_trading_model.recon_runs AS r
SET upstream_well = true
WHERE kind = 'audit' AND status IN ('succeeded', 'completed_with_issues') AND suspicion IS NULL AND prepared_at IS NOT NULL
  AND request ->> 'account_ids' IS NULL AND request ->> 'max_accounts' IS NULL AND failed + needs_confirmation + skipped = 0
  AND NOT EXISTS (SELECT FROM prop_trading_model.recon_attempts AS a WHERE a.run_id = r.run_id AND a.outcome IS NULL);

CREATE INDEX recon_runs_suspicion ON prop_trading_model.recon_runs (finished_at) WHERE suspicion IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_runs_suspicion IS 'runs: get_standing_suspicion';
CREATE INDEX recon_runs_upstream_well ON prop_trading_model.recon_runs (started_at) WHERE upstream_well;
COMMENT ON INDEX prop_trading_model.recon_runs_upstream_well IS 'runs: get_standing_suspicion';
