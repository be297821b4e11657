-- The state of each account, in the columns that existing dashboards read, and what claims need. A table that an earlier
-- system left under this name keeps its rows, gets the columns that it lacks, and is brought into this shape.

CREATE TABLE IF NOT EXISTS prop_trading_model.trade_recon (
    account_id varchar(255) PRIMARY KEY
);

-- Room on each page: a claim, a record and the issues that widen a row in between stay heap-only updates.
ALTER TABLE prop_trading_model.trade_recon SET (fillfactor = 40);

ALTER TABLE prop_trading_model.trade_recon
    ADD COLUMN IF NOT EXISTS has_alltime boolean NOT NULL DEFAULT false,
    -- The earlier system's function leaves the figure of a table empty that has no rows of the account; maintenance writes 0.
    ADD COLUMN IF NOT EXISTS num_trades_alltime bigint DEFAULT 0,
    ADD COLUMN IF NOT EXISTS has_daily boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS num_trades_daily bigint DEFAULT 0,
    ADD COLUMN IF NOT EXISTS has_hourly boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS num_trades_hourly bigint DEFAULT 0,
    ADD COLUMN IF NOT EXISTS has_raw_closed boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS num_trades_raw_closed bigint DEFAULT 0,
    ADD COLUMN IF NOT EXISTS trades_recon_checksum boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS issues jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN IF NOT EXISTS last_checked timestamptz,
    ADD COLUMN IF NOT EXISTS last_reconciled timestamptz,
    ADD COLUMN IF NOT EXISTS failed_attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS last_failed_attempt timestamptz,
    ADD COLUMN IF NOT EXISTS created_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS reconciliation_status text NOT NULL DEFAULT 'pending',
    ADD COLUMN IF NOT EXISTS mismatched_days bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS next_attempt_at timestamptz,
    ADD COLUMN IF NOT EXISTS explained_as text,
    ADD COLUMN IF NOT EXISTS claim_id uuid,
    ADD COLUMN IF NOT EXISTS claimed_by uuid,
    ADD COLUMN IF NOT EXISTS claimed_at timestamptz,
    ADD COLUMN IF NOT EXISTS whole_copy bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS explained_times integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS ask_again_at timestamptz,
    ADD COLUMN IF NOT EXISTS mismatched_money bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN prop_trading_model.trade_recon.mismatched_days IS
    'dates on which daily, hourly and closed trades disagree';
COMMENT ON COLUMN prop_trading_model.trade_recon.next_attempt_at IS
    'no ordinary run takes the account before this time: it is backing off';
COMMENT ON COLUMN prop_trading_model.trade_recon.explained_as IS
    'what detection saw when a run could only explain what was left: while it sees the same, a full run need not ask again';
COMMENT ON COLUMN prop_trading_model.trade_recon.whole_copy IS
    'the newest copy in recon_removed_rows when the account was last found whole: rows copied since count together against its guard';
COMMENT ON COLUMN prop_trading_model.trade_recon.explained_times IS
    'how many times in a row upstream was asked in vain about the state that explained_as stands for';
COMMENT ON COLUMN prop_trading_model.trade_recon.ask_again_at IS
    'until then a full run does not ask again about the state that explained_as stands for';
COMMENT ON COLUMN prop_trading_model.trade_recon.mismatched_money IS
    'dates on which net profit or lots disagree between tables whose counts agree; 1 where only the totals do';

-- An earlier system left columns empty that ours reads as figures and flags.
UPDATE prop_trading_model.trade_recon
SET has_alltime = coalesce(has_alltime, false), num_trades_alltime = coalesce(num_trades_alltime, 0),
    has_daily = coalesce(has_daily, false), num_trades_daily = coalesce(num_trades_daily, 0),
    has_hourly = coalesce(has_hourly, false), num_trades_hourly = coalesce(num_trades_hourly, 0),
    has_raw_closed = coalesce(has_raw_closed, false), num_trades_raw_closed = coalesce(num_trades_raw_closed, 0),
    trades_recon_checksum = coalesce(trades_recon_checksum, false),
    issues = CASE jsonb_typeof(issues) WHEN 'array' THEN issues WHEN 'object' THEN jsonb_build_array(issues) ELSE '[]' END,
    failed_attempts = coalesce(failed_attempts, 0),
    created_at = coalesce(created_at, now()),
    reconciliation_status = coalesce(reconciliation_status, 'pending')
WHERE num_nulls(has_alltime, num_trades_alltime, has_daily, num_trades_daily, has_hourly, num_trades_hourly, has_raw_closed, num_trades_raw_closed,
                trades_recon_checksum, issues, failed_attempts, created_at, reconciliation_status) > 0
   OR jsonb_typeof(issues) <> 'array';

ALTER TABLE prop_trading_model.trade_recon
    ALTER COLUMN has_alltime SET DEFAULT false, ALTER COLUMN has_alltime SET NOT NULL,
    -- The totals stay NOT NULL where they were.
    ALTER COLUMN num_trades_alltime SET DEFAULT 0,
    ALTER COLUMN has_daily SET DEFAULT false, ALTER COLUMN has_daily SET NOT NULL,
    ALTER COLUMN num_trades_daily SET DEFAULT 0,
    ALTER COLUMN has_hourly SET DEFAULT false, ALTER COLUMN has_hourly SET NOT NULL,
    ALTER COLUMN num_trades_hourly SET DEFAULT 0,
    ALTER COLUMN has_raw_closed SET DEFAULT false, ALTER COLUMN has_raw_closed SET NOT NULL,
    ALTER COLUMN num_trades_raw_closed SET DEFAULT 0,
    ALTER COLUMN trades_recon_checksum SET DEFAULT false, ALTER COLUMN trades_recon_checksum SET NOT NULL,
    ALTER COLUMN issues SET DEFAULT '[]', ALTER COLUMN issues SET NOT NULL,
    ALTER COLUMN failed_attempts SET DEFAULT 0, ALTER COLUMN failed_attempts SET NOT NULL,
    ALTER COLUMN created_at SET DEFAULT now(), ALTER COLUMN created_at SET NOT NULL,
    ALTER COLUMN reconciliation_status SET DEFAULT 'pending', ALTER COLUMN reconciliation_status SET NOT NULL,
    -- An account is not checked when it becomes known: the first run takes the longest unchecked first.
    ALTER COLUMN last_checked DROP DEFAULT, ALTER COLUMN last_checked DROP NOT NULL;

-- The copy of the earlier system's table has no primary key: a publication of all tables takes no deletes from it without this.
DO $$
BEGIN
    IF to_regclass(format('%I.%I', 'prop_trading_model', 'recon_earlier_trade_recon')) IS NOT NULL THEN
        ALTER TABLE prop_trading_model.recon_earlier_trade_recon REPLICA IDENTITY FULL;
    END IF;
END
$$;
