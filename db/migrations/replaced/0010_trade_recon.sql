-- The state of each account, in the columns that existing dashboards read, and what claims need. A table that a user
-- already has under this name keeps its rows and gets the columns that it lacks.

CREATE TABLE IF NOT EXISTS prop_trading_model.trade_recon (
    account_id varchar(255) PRIMARY KEY
);

ALTER TABLE prop_trading_model.trade_recon
    ADD COLUMN IF NOT EXISTS has_alltime boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS num_trades_alltime bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS has_daily boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS num_trades_daily bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS has_hourly boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS num_trades_hourly bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS has_raw_closed boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS num_trades_raw_closed bigint NOT NULL DEFAULT 0,
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
    ADD COLUMN IF NOT EXISTS claimed_at timestamptz;

-- Room on each page, so that claims and releases stay heap-only updates.
ALTER TABLE prop_trading_model.trade_recon SET (fillfactor = 70);

COMMENT ON COLUMN prop_trading_model.trade_recon.mismatched_days IS 'dates on which daily, hourly and closed trades disagree';
COMMENT ON COLUMN prop_trading_model.trade_recon.next_attempt_at IS 'no ordinary run takes the account before this time: it is backing off';

COMMENT ON COLUMN prop_trading_model.trade_recon.explained_as IS
    'what detection saw when a run could only explain what was left: while it sees the same, a full run need not ask again';

CREATE TABLE prop_trading_model.recon_workers (
    worker_id    uuid PRIMARY KEY,
    host         text NOT NULL,
    pid          integer NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE prop_trading_model.recon_workers IS 'one row a worker process; claims of a worker whose heartbeat is older than the lease are free';

CREATE TABLE prop_trading_model.recon_runs (
    run_id        uuid PRIMARY KEY,
    kind          text NOT NULL CHECK (kind IN ('full', 'retry', 'audit')),
    request       jsonb NOT NULL DEFAULT '{}',
    status        text NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'completed_with_issues', 'failed', 'cancelled')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz,
    finished_at   timestamptz,
    prepared_by   uuid,
    prepared_at   timestamptz,
    error         text,
    total         bigint NOT NULL DEFAULT 0,
    unchanged     bigint NOT NULL DEFAULT 0,
    healed        bigint NOT NULL DEFAULT 0,
    explained     bigint NOT NULL DEFAULT 0,
    partial       bigint NOT NULL DEFAULT 0,
    failed        bigint NOT NULL DEFAULT 0,
    skipped       bigint NOT NULL DEFAULT 0,
    requests      bigint NOT NULL DEFAULT 0,
    rows_inserted bigint NOT NULL DEFAULT 0,
    rows_updated  bigint NOT NULL DEFAULT 0,
    rows_moved    bigint NOT NULL DEFAULT 0,
    rows_removed  bigint NOT NULL DEFAULT 0,
    rows_set_aside bigint NOT NULL DEFAULT 0,
    values_nulled bigint NOT NULL DEFAULT 0,
    phases        jsonb NOT NULL DEFAULT '{}',
    api           jsonb NOT NULL DEFAULT '{}',
    maintenance   jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 70);
CREATE INDEX recon_runs_active ON prop_trading_model.recon_runs (created_at) WHERE status IN ('queued', 'running');
COMMENT ON INDEX prop_trading_model.recon_runs_active IS 'runs: find_active_run';
COMMENT ON COLUMN prop_trading_model.recon_runs.phases IS 'seconds by phase, summed over workers';
COMMENT ON COLUMN prop_trading_model.recon_runs.explained IS 'accounts whose remaining issues are not the warehouse''s to heal';

CREATE TABLE prop_trading_model.recon_attempts (
    run_id         uuid NOT NULL REFERENCES prop_trading_model.recon_runs ON DELETE CASCADE,
    account_id     varchar(255) NOT NULL,
    position       bigint NOT NULL,
    outcome        text CHECK (outcome IN ('unchanged', 'healed', 'explained', 'partial', 'failed')),
    finished_at    timestamptz,
    seconds        double precision,
    requests       integer,
    rows_inserted  bigint,
    rows_updated   bigint,
    rows_moved     bigint,
    rows_removed   bigint,
    rows_set_aside bigint,
    values_nulled  bigint,
    issues_found   text[],
    issues_left    text[],
    detail         text,
    PRIMARY KEY (run_id, account_id)
) WITH (fillfactor = 80);
CREATE INDEX recon_attempts_waiting ON prop_trading_model.recon_attempts (run_id, position) WHERE outcome IS NULL;
COMMENT ON INDEX prop_trading_model.recon_attempts_waiting IS 'claims: claim_accounts takes the accounts of a run in order';
CREATE INDEX recon_attempts_account ON prop_trading_model.recon_attempts (account_id, finished_at DESC);
COMMENT ON INDEX prop_trading_model.recon_attempts_account IS 'report: get_attempts';
COMMENT ON TABLE prop_trading_model.recon_attempts IS 'each account of each run: waiting while outcome is null, then what was done';

CREATE TABLE prop_trading_model.recon_issue_history (
    issue_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id       varchar(255) NOT NULL,
    type             text NOT NULL,
    severity         integer NOT NULL,
    opened_at        timestamptz NOT NULL DEFAULT now(),
    opened_run       uuid,
    evidence         jsonb NOT NULL,
    closed_at        timestamptz,
    closed_run       uuid,
    closing_evidence jsonb
);
CREATE UNIQUE INDEX recon_issue_history_open ON prop_trading_model.recon_issue_history (account_id, type) WHERE closed_at IS NULL;
COMMENT ON INDEX prop_trading_model.recon_issue_history_open IS 'record: an issue of an account is open once';
CREATE INDEX recon_issue_history_account ON prop_trading_model.recon_issue_history (account_id, opened_at DESC);

CREATE TABLE prop_trading_model.recon_identity (
    login       text NOT NULL,
    platform    text NOT NULL,
    broker      text NOT NULL,
    account_id  text NOT NULL,
    daily_from  date,
    daily_to    date,
    today       boolean NOT NULL,
    counts      boolean NOT NULL,
    first_trade date,
    valid_from  date,
    valid_to    date,
    open_from   date,
    PRIMARY KEY (login, platform, broker, account_id)
) WITH (fillfactor = 80);
CREATE INDEX recon_identity_account ON prop_trading_model.recon_identity (account_id);
COMMENT ON TABLE prop_trading_model.recon_identity IS
    'who held a natural key when; derived from daily rows (daily_from, daily_to) and alltime (today), rebuilt by maintenance';
COMMENT ON COLUMN prop_trading_model.recon_identity.counts IS 'alltime counts trades for the account';
COMMENT ON COLUMN prop_trading_model.recon_identity.open_from IS
    'the account also holds the key from this day on: alltime says so, and no daily row of any holder reaches it';

CREATE TABLE prop_trading_model.recon_identity_findings (
    table_name text NOT NULL,
    login      text NOT NULL,
    platform   text NOT NULL,
    broker     text NOT NULL,
    holder     text,
    candidates text[] NOT NULL,
    fits       text NOT NULL,
    rows       bigint NOT NULL,
    dates      date[] NOT NULL,
    found_at   timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX recon_identity_findings_natural_key
    ON prop_trading_model.recon_identity_findings (login, platform, broker, table_name, holder, fits) NULLS NOT DISTINCT;
COMMENT ON INDEX prop_trading_model.recon_identity_findings_natural_key IS 'identity: two that look at once find a thing once';
COMMENT ON COLUMN prop_trading_model.recon_identity_findings.fits IS 'MD5 of the candidates, which may be too long for an index';
CREATE INDEX recon_identity_findings_candidates ON prop_trading_model.recon_identity_findings USING gin (candidates);
COMMENT ON TABLE prop_trading_model.recon_identity_findings IS
    'rows whose account id is missing, a placeholder or another account''s, by natural key; holder is the id they carry, candidates those that fit';

CREATE TABLE prop_trading_model.recon_removed_rows (
    removed_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     uuid,
    account_id varchar(255),
    table_name text NOT NULL,
    date       date,
    reason     text NOT NULL CHECK (reason IN ('removed', 'overwritten', 'moved', 'placeholder')),
    row_data   jsonb NOT NULL,
    removed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX recon_removed_rows_account ON prop_trading_model.recon_removed_rows (account_id, table_name, date);
COMMENT ON TABLE prop_trading_model.recon_removed_rows IS 'each row of a raw table as it stood before trade-recon removed, moved or overwrote it';

CREATE TABLE prop_trading_model.recon_set_aside_rows (
    table_name text NOT NULL,
    row_key    text NOT NULL,
    account_id varchar(255),
    reason     text NOT NULL,
    row_data   json NOT NULL,
    run_id     uuid,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_name, row_key)
);
COMMENT ON TABLE prop_trading_model.recon_set_aside_rows IS 'rows that upstream sends and the warehouse cannot hold as they are, with the reason';

CREATE TABLE prop_trading_model.recon_fetches (
    fetch_id   uuid PRIMARY KEY,
    worker_id  uuid NOT NULL,
    table_name text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE prop_trading_model.recon_fetches IS 'whose rows are in staging, so that those of dead workers can be purged';

-- Logged, unlike staging: emptied by a crash of PostgreSQL, a scan would read as an upstream that has nothing.
CREATE TABLE prop_trading_model.recon_scan (
    run_id      uuid NOT NULL,
    account_id  varchar(255) NOT NULL,
    num_trades  numeric,
    net_profit  numeric,
    total_lots  numeric,
    sends_trades boolean NOT NULL,
    sends_profit boolean NOT NULL,
    sends_lots   boolean NOT NULL,
    PRIMARY KEY (run_id, account_id)
);
CREATE TABLE prop_trading_model.recon_scan_days (
    run_id     uuid NOT NULL,
    account_id varchar(255) NOT NULL,
    date       date NOT NULL,
    num_trades numeric,
    net_profit numeric,
    total_lots numeric,
    PRIMARY KEY (run_id, account_id, date)
);
COMMENT ON TABLE prop_trading_model.recon_scan IS 'what an audit saw of upstream''s alltime metrics, and which figures were sent at all; its rows go when the run ends';

CREATE TABLE prop_trading_model.recon_descents (
    account_id varchar(255) NOT NULL,
    date       date NOT NULL,
    PRIMARY KEY (account_id, date)
);
COMMENT ON TABLE prop_trading_model.recon_descents IS
    'dates whose daily row an audit''s heal changed and whose hourly rows and trades were not read since; written with the daily row';

CREATE TABLE prop_trading_model.recon_drift (
    run_id     uuid NOT NULL,
    account_id varchar(255) NOT NULL,
    absent     boolean NOT NULL,
    evidence   jsonb NOT NULL,
    PRIMARY KEY (run_id, account_id)
);
COMMENT ON TABLE prop_trading_model.recon_drift IS 'accounts that an audit found different from upstream, or absent there';
