-- Runs: who works, what was asked for, what is done of it and what it counted.

CREATE TABLE prop_trading_model.recon_workers (
    worker_id    uuid PRIMARY KEY,
    host         text NOT NULL,
    pid          integer NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    only_run     uuid,
    waits_for    text,
    waits_detail text,
    waits_since  timestamptz,
    next_try_at  timestamptz,
    given_up_at  timestamptz,
    under_way    jsonb
) WITH (fillfactor = 50);
COMMENT ON TABLE prop_trading_model.recon_workers IS
    'one row a worker process; claims of a worker whose heartbeat is older than the lease are free';
COMMENT ON COLUMN prop_trading_model.recon_workers.only_run IS
    'the only run that the process serves; null: all of them';
COMMENT ON COLUMN prop_trading_model.recon_workers.waits_for IS
    'what keeps the work of the process from going on: upstream_down, upstream_throttles, quota or locks; null: nothing';
COMMENT ON COLUMN prop_trading_model.recon_workers.waits_detail IS 'the error of the last try';
COMMENT ON COLUMN prop_trading_model.recon_workers.next_try_at IS 'when the process tries again; null: soon';
COMMENT ON COLUMN prop_trading_model.recon_workers.given_up_at IS
    'when the runs that wait are given up; null: they wait as long as it takes';
COMMENT ON COLUMN prop_trading_model.recon_workers.under_way IS
    'the batches that the process works on, by run: accounts, those of which nothing more is to be read, requests and rows written; null: none';

CREATE TABLE prop_trading_model.recon_runs (
    run_id                uuid PRIMARY KEY,
    kind                  text NOT NULL CHECK (kind IN ('full', 'retry', 'audit', 'inspect')),
    request               jsonb NOT NULL DEFAULT '{}',
    status                text NOT NULL CHECK (
        status IN ('queued', 'running', 'paused', 'succeeded', 'completed_with_issues', 'needs_confirmation', 'failed', 'cancelled')
    ),
    created_at            timestamptz NOT NULL DEFAULT now(),
    started_at            timestamptz,
    finished_at           timestamptz,
    prepared_by           uuid,
    prepared_at           timestamptz,
    error                 text,
    total                 bigint NOT NULL DEFAULT 0,
    unchanged             bigint NOT NULL DEFAULT 0,
    healed                bigint NOT NULL DEFAULT 0,
    explained             bigint NOT NULL DEFAULT 0,
    partial               bigint NOT NULL DEFAULT 0,
    failed                bigint NOT NULL DEFAULT 0,
    skipped               bigint NOT NULL DEFAULT 0,
    requests              bigint NOT NULL DEFAULT 0,
    rows_inserted         bigint NOT NULL DEFAULT 0,
    rows_updated          bigint NOT NULL DEFAULT 0,
    rows_moved            bigint NOT NULL DEFAULT 0,
    rows_removed          bigint NOT NULL DEFAULT 0,
    rows_set_aside        bigint NOT NULL DEFAULT 0,
    values_nulled         bigint NOT NULL DEFAULT 0,
    phases                jsonb NOT NULL DEFAULT '{}',
    api                   jsonb NOT NULL DEFAULT '{}',
    maintenance           jsonb NOT NULL DEFAULT '{}',
    postponed             bigint NOT NULL DEFAULT 0,
    stop_at               timestamptz,
    is_sole               boolean NOT NULL DEFAULT false,
    idempotency_key       text,
    request_digest        text,
    confirmed_at          timestamptz,
    flapping              bigint NOT NULL DEFAULT 0,
    needs_confirmation    bigint NOT NULL DEFAULT 0,
    covers_until          timestamptz,
    rows_compared         bigint NOT NULL DEFAULT 0,
    suspicion             text,
    gone                  bigint NOT NULL DEFAULT 0,
    search_requests       bigint NOT NULL DEFAULT 0,
    known_search_requests bigint NOT NULL DEFAULT 0,
    fault                 text,
    newly_held            bigint NOT NULL DEFAULT 0,
    held_since            uuid,
    covers_horizon        bigint,
    history_from          date,
    missing_partitions    text[] NOT NULL DEFAULT '{}',
    open_trades           jsonb,
    upstream_well         boolean NOT NULL DEFAULT false,
    compared              jsonb NOT NULL DEFAULT '{}',
    named_open_trades     jsonb,
    paused_at             timestamptz,
    only_confirmed        boolean NOT NULL DEFAULT false,
    found                 bigint NOT NULL DEFAULT 0,
    known_accounts        bigint,
    left_over             jsonb
) WITH (fillfactor = 70);
COMMENT ON COLUMN prop_trading_model.recon_runs.explained IS
    'accounts whose remaining issues are not the warehouse''s to heal';
COMMENT ON COLUMN prop_trading_model.recon_runs.phases IS 'seconds by phase, summed over workers';
COMMENT ON COLUMN prop_trading_model.recon_runs.postponed IS
    'accounts that were put back to be read once more, since a fetch could not be completed';
COMMENT ON COLUMN prop_trading_model.recon_runs.stop_at IS
    'the run ends in order at this time, whatever is left; null: when nothing is left';
COMMENT ON COLUMN prop_trading_model.recon_runs.is_sole IS
    'no second run of its sort may be active beside it; false for runs from before this column';
COMMENT ON COLUMN prop_trading_model.recon_runs.request_digest IS 'of the request that came with the idempotency key';
COMMENT ON COLUMN prop_trading_model.recon_runs.confirmed_at IS
    'somebody looked at what was held and let it be written: what was shown then is not held again, all else is guarded as before';
COMMENT ON COLUMN prop_trading_model.recon_runs.flapping IS
    'accounts that were held back, since the same issue opened again and again right after healing';
COMMENT ON COLUMN prop_trading_model.recon_runs.needs_confirmation IS
    'accounts that were held, since healing them would rewrite too much or upstream suddenly has nothing for them';
COMMENT ON COLUMN prop_trading_model.recon_runs.covers_until IS
    'what was written before this time was looked at, if the run ended in order; null for runs of named accounts, and for one that left accounts out';
COMMENT ON COLUMN prop_trading_model.recon_runs.rows_compared IS
    'stored rows that were compared with a complete answer of upstream';
COMMENT ON COLUMN prop_trading_model.recon_runs.suspicion IS
    'why the run was stopped, or is about to be, since upstream is suspect; null again once somebody confirmed it';
COMMENT ON COLUMN prop_trading_model.recon_runs.gone IS
    'accounts whose row of trade_recon was deleted while they waited in the run';
COMMENT ON COLUMN prop_trading_model.recon_runs.search_requests IS
    'requests that failed while accounts were searched for that make requests for several fail; the run stops to search at RECON_SEARCH_REQUESTS';
COMMENT ON COLUMN prop_trading_model.recon_runs.known_search_requests IS
    'the same for accounts that had failed before, with a limit of their own';
COMMENT ON COLUMN prop_trading_model.recon_runs.fault IS
    'why the run ends as failed once nothing of it waits any more: an endpoint of the API answered nobody';
COMMENT ON COLUMN prop_trading_model.recon_runs.newly_held IS
    'of the accounts that need confirmation, those that were not held before the run';
COMMENT ON COLUMN prop_trading_model.recon_runs.held_since IS
    'the earliest run since which some of the others are held; null where that is this run, or not known';
COMMENT ON COLUMN prop_trading_model.recon_runs.covers_horizon IS
    'transactions from this one on may have committed after covers_until; null for runs of earlier versions';
COMMENT ON COLUMN prop_trading_model.recon_runs.history_from IS 'the first date that the run compared; null: all';
COMMENT ON COLUMN prop_trading_model.recon_runs.missing_partitions IS
    'what is to be done so that rows which the run fetched get a partition, each said once';
COMMENT ON COLUMN prop_trading_model.recon_runs.open_trades IS
    'how many open trades upstream''s snapshot has and how many of its dates are stored, by date; null where no audit compared them';
COMMENT ON COLUMN prop_trading_model.recon_runs.upstream_well IS
    'whether the run, an audit, compared the accounts with upstream and found it well: after that, suspicions of earlier runs are over';
COMMENT ON COLUMN prop_trading_model.recon_runs.compared IS
    'rows, columns and differing rows by table, of all accounts whose rows were compared with upstream';
COMMENT ON COLUMN prop_trading_model.recon_runs.named_open_trades IS
    'how many open trades of the named accounts upstream''s snapshot has and how many of its dates are stored; null where they were not compared';
COMMENT ON COLUMN prop_trading_model.recon_runs.paused_at IS 'since when the run is paused';
COMMENT ON COLUMN prop_trading_model.recon_runs.only_confirmed IS
    'only the accounts that somebody confirmed are worked on: the others that are held, and those that the run had not come to, stay as they are';
COMMENT ON COLUMN prop_trading_model.recon_runs.found IS
    'accounts at which an inspection found an issue that is more than information';
COMMENT ON COLUMN prop_trading_model.recon_runs.known_accounts IS
    'the accounts that were known when those of the run were chosen; null: not chosen yet, or by an earlier version';
COMMENT ON COLUMN prop_trading_model.recon_runs.left_over IS
    'what the run left when it ended, by kind, and new_issues: accounts with an issue that it was the first to find; null: not ended, or by an earlier version';
CREATE INDEX recon_runs_active ON prop_trading_model.recon_runs (created_at) WHERE status IN ('queued', 'running');
COMMENT ON INDEX prop_trading_model.recon_runs_active IS 'runs: find_active_run';
CREATE UNIQUE INDEX recon_runs_sole
    ON prop_trading_model.recon_runs (is_sole) WHERE is_sole AND status IN ('queued', 'running', 'paused');
COMMENT ON INDEX prop_trading_model.recon_runs_sole IS
    'runs: create_run, of two that start a full run at the same time one is refused';
CREATE UNIQUE INDEX recon_runs_idempotency_key
    ON prop_trading_model.recon_runs (idempotency_key) WHERE idempotency_key IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_runs_idempotency_key IS 'runs: create_run and get_run_of_key';
CREATE INDEX recon_runs_stop_at
    ON prop_trading_model.recon_runs (stop_at) WHERE stop_at IS NOT NULL AND status IN ('queued', 'running', 'paused');
COMMENT ON INDEX prop_trading_model.recon_runs_stop_at IS 'control: end_overdue_runs, each second of each process';
CREATE INDEX recon_runs_covers_until
    ON prop_trading_model.recon_runs (covers_until DESC) WHERE covers_until IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_runs_covers_until IS 'touched: get_covered_until';
CREATE INDEX recon_runs_finished ON prop_trading_model.recon_runs (finished_at) WHERE finished_at IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_runs_finished IS 'report: get_last_run';
CREATE INDEX recon_runs_holding ON prop_trading_model.recon_runs (finished_at) WHERE needs_confirmation > 0;
COMMENT ON INDEX prop_trading_model.recon_runs_holding IS 'report: get_holding_run';
CREATE INDEX recon_runs_open_trades ON prop_trading_model.recon_runs (finished_at) WHERE open_trades IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_runs_open_trades IS 'report: get_open_trades';
CREATE INDEX recon_runs_suspicion ON prop_trading_model.recon_runs (finished_at) WHERE suspicion IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_runs_suspicion IS 'runs: get_standing_suspicion';
CREATE INDEX recon_runs_upstream_well ON prop_trading_model.recon_runs (started_at) WHERE upstream_well;
COMMENT ON INDEX prop_trading_model.recon_runs_upstream_well IS 'runs: get_standing_suspicion';
CREATE INDEX recon_runs_newest ON prop_trading_model.recon_runs (created_at, run_id);
COMMENT ON INDEX prop_trading_model.recon_runs_newest IS 'runs: list_runs';

CREATE TABLE prop_trading_model.recon_attempts (
    run_id          uuid NOT NULL REFERENCES prop_trading_model.recon_runs ON DELETE CASCADE,
    account_id      varchar(255) NOT NULL,
    position        bigint NOT NULL,
    outcome         text CHECK (
        outcome IN ('unchanged', 'healed', 'explained', 'partial', 'failed', 'flapping', 'needs_confirmation', 'gone', 'found')
    ),
    finished_at     timestamptz,
    seconds         double precision,
    requests        integer,
    rows_inserted   bigint,
    rows_updated    bigint,
    rows_moved      bigint,
    rows_removed    bigint,
    rows_set_aside  bigint,
    values_nulled   bigint,
    issues_found    text[],
    issues_left     text[],
    detail          text,
    postponed_until timestamptz,
    held            jsonb,
    confirmed       boolean NOT NULL DEFAULT false,
    compared        jsonb,
    own_seconds     double precision,
    seen            text,
    own_requests    double precision,
    PRIMARY KEY (run_id, account_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE prop_trading_model.recon_attempts IS
    'each account of each run: while outcome is null it waits, or was left when the run ended; then what was done';
COMMENT ON COLUMN prop_trading_model.recon_attempts.postponed_until IS
    'a fetch for the account could not be completed: not before this time it is read once more; infinity: it failed together with others and was not tried alone, the next run takes it; null: that has not happened in this run';
COMMENT ON COLUMN prop_trading_model.recon_attempts.held IS
    'what was shown when the account was held: the trades that would be left, and whether figures become empty';
COMMENT ON COLUMN prop_trading_model.recon_attempts.confirmed IS 'somebody confirmed what was shown';
COMMENT ON COLUMN prop_trading_model.recon_attempts.compared IS
    'rows, columns and differing rows by table where every row of the account was compared with upstream; null where only counts were';
COMMENT ON COLUMN prop_trading_model.recon_attempts.own_seconds IS
    'what the account took of the time of its requests, from the first page to the write: the time of each is shared by the accounts that it is for';
COMMENT ON COLUMN prop_trading_model.recon_attempts.seen IS
    'a digest of how the account''s tables disagreed when its issues were recorded; null where none was left, and for attempts of an earlier version';
COMMENT ON COLUMN prop_trading_model.recon_attempts.own_requests IS
    'what the account took of the requests of its batch: one that is for several accounts is shared by them in equal parts';
CREATE INDEX recon_attempts_waiting ON prop_trading_model.recon_attempts (run_id, postponed_until NULLS FIRST, position)
    WHERE outcome IS NULL;
COMMENT ON INDEX prop_trading_model.recon_attempts_waiting IS
    'claims: claim_accounts takes the accounts of a run in order, postponed ones behind all others; runs: get_run, finish_run, get_run_state';
CREATE INDEX recon_attempts_account ON prop_trading_model.recon_attempts (account_id, finished_at DESC);
COMMENT ON INDEX prop_trading_model.recon_attempts_account IS 'report: get_attempts';
-- The last seven days among the attempts of months. BRIN, since attempts are stored run after run, and it costs their recording nothing.
CREATE INDEX recon_attempts_finished ON prop_trading_model.recon_attempts USING brin (finished_at)
    WITH (pages_per_range = 32, autosummarize = on);
COMMENT ON INDEX prop_trading_model.recon_attempts_finished IS 'report: get_activity';

CREATE TABLE prop_trading_model.recon_fetches (
    fetch_id   uuid PRIMARY KEY,
    worker_id  uuid NOT NULL,
    table_name text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE prop_trading_model.recon_fetches IS
    'whose rows are in staging, so that those of dead workers can be purged';

CREATE TABLE prop_trading_model.recon_orders (
    order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    what     text NOT NULL,
    run_id   uuid,
    reason   text,
    given_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE prop_trading_model.recon_orders IS
    'orders that people gave (start, pause, resume, cancel, confirm, restore, release, maintenance), with their reasons';
COMMENT ON COLUMN prop_trading_model.recon_orders.run_id IS
    'the run that was ordered or steered, or whose changes were restored or released; null: none';
CREATE INDEX recon_orders_run ON prop_trading_model.recon_orders (run_id, order_id) WHERE run_id IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_orders_run IS 'orders: get_orders_of_run';

CREATE TABLE prop_trading_model.recon_run_inserts (
    insert_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     uuid NOT NULL,
    table_name text NOT NULL,
    date       date,
    broker     text,
    rows       bigint NOT NULL
);
COMMENT ON TABLE prop_trading_model.recon_run_inserts IS
    'rows that runs inserted, by table, date and broker: written with them, one transaction after the other, and summed up when they are read';
CREATE INDEX recon_run_inserts_run ON prop_trading_model.recon_run_inserts (run_id);
COMMENT ON INDEX prop_trading_model.recon_run_inserts_run IS 'runs: get_run_result';

-- Without a foreign key: its check would lock the run's row, which others update, and writes are done in repeatable read.
CREATE TABLE prop_trading_model.recon_run_losses (
    run_id     uuid NOT NULL,
    account_id varchar(255) NOT NULL,
    worker_id  uuid NOT NULL,
    rows       bigint NOT NULL,
    lowers     boolean NOT NULL,
    rewrites   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (run_id, account_id)
);
COMMENT ON TABLE prop_trading_model.recon_run_losses IS
    'what a run takes from accounts that were not held before: its limits count this over all processes; forgotten when somebody confirms the run';
COMMENT ON COLUMN prop_trading_model.recon_run_losses.rows IS 'rows that were removed, moved, lowered or blanked';
COMMENT ON COLUMN prop_trading_model.recon_run_losses.lowers IS
    'upstream has lower figures, empty ones or nothing at all, or the account is held';
COMMENT ON COLUMN prop_trading_model.recon_run_losses.rewrites IS
    'the account counts only since too many of its rows would be rewritten: upstream lowers none of its figures';

CREATE TABLE prop_trading_model.recon_inspection_figures (
    figures_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     uuid NOT NULL,
    figures    jsonb NOT NULL
);
COMMENT ON TABLE prop_trading_model.recon_inspection_figures IS
    'what inspections counted by issue, table, broker and date: a row a batch, written with its accounts, and summed up when they are read';
CREATE INDEX recon_inspection_figures_run ON prop_trading_model.recon_inspection_figures (run_id);
COMMENT ON INDEX prop_trading_model.recon_inspection_figures_run IS 'inspections: get_inspection_figures';

-- Unlogged: a draw then waits for no disk and no standby, and what a crash forgets is not needed: without the row no process sends
-- until all permits that may be under way are past. Nine tenths of the row's page are free: each draw is a heap-only update.
CREATE UNLOGGED TABLE prop_trading_model.recon_quota (
    singleton   boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    spent_until timestamptz NOT NULL,
    drawn_at    timestamptz NOT NULL,
    permits     bigint NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE prop_trading_model.recon_quota IS
    'one row: how far the quota of the upstream API is spent, over all replicas';
COMMENT ON COLUMN prop_trading_model.recon_quota.spent_until IS
    'when the next permit is due (the theoretical arrival time of GCRA)';
COMMENT ON COLUMN prop_trading_model.recon_quota.drawn_at IS 'the database''s clock at the last draw';
COMMENT ON COLUMN prop_trading_model.recon_quota.permits IS
    'what the last draw gave; 0: more than enough is drawn ahead already';
-- No request was sent yet.
INSERT INTO prop_trading_model.recon_quota (spent_until, drawn_at, permits) VALUES ('-infinity', '-infinity', 0);

-- Kept up by the processes that work, so that reading the report costs the same however many accounts there are.
CREATE TABLE prop_trading_model.recon_report (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    figures     jsonb,
    computed_at timestamptz,
    seconds     double precision NOT NULL DEFAULT 0
);
COMMENT ON TABLE prop_trading_model.recon_report IS 'the figures of the report as they were last counted; one row';
COMMENT ON COLUMN prop_trading_model.recon_report.seconds IS
    'how long counting took: so seldom is it done that it never costs much';
INSERT INTO prop_trading_model.recon_report DEFAULT VALUES;
