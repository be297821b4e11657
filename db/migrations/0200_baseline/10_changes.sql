-- What was changed in raw tables, what could not be, and the issues that led to it.

CREATE TABLE prop_trading_model.recon_removed_rows (
    removed_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id      uuid,
    account_id  varchar(255),
    table_name  text NOT NULL,
    date        date,
    reason      text NOT NULL CHECK (reason IN ('removed', 'overwritten', 'moved', 'placeholder')),
    row_data    jsonb NOT NULL,
    removed_at  timestamptz NOT NULL DEFAULT now(),
    restored_at timestamptz,
    right_date  date
);
COMMENT ON TABLE prop_trading_model.recon_removed_rows IS
    'each row of a raw table as it stood before trade-recon removed, moved or overwrote it';
COMMENT ON COLUMN prop_trading_model.recon_removed_rows.restored_at IS
    'when the row was brought back from this copy; null: never';
COMMENT ON COLUMN prop_trading_model.recon_removed_rows.right_date IS
    'where a trade was removed since it was stored twice: the date under which upstream has it, and it stays; null: no double, or kept before version 0160';
CREATE INDEX recon_removed_rows_account ON prop_trading_model.recon_removed_rows (account_id, table_name, date);
CREATE INDEX recon_removed_rows_of_account ON prop_trading_model.recon_removed_rows (account_id, removed_id);
COMMENT ON INDEX prop_trading_model.recon_removed_rows_of_account IS
    'removed: list_removed_rows of an account, newest first';
CREATE INDEX recon_removed_rows_of_run
    ON prop_trading_model.recon_removed_rows (run_id, removed_id) WHERE run_id IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_removed_rows_of_run IS
    'removed: list_removed_rows and get_ids_of_run of a run, newest first';
CREATE INDEX recon_removed_rows_of_reason
    ON prop_trading_model.recon_removed_rows (reason, removed_id) WHERE reason <> 'overwritten';
COMMENT ON INDEX prop_trading_model.recon_removed_rows_of_reason IS
    'removed: list_removed_rows of a reason that is rare, newest first';

CREATE TABLE prop_trading_model.recon_changes (
    -- The order of the feed. No CACHE: sessions that took ids ahead would give out old ones after newer ones were read.
    change_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id    text NOT NULL,
    table_name    text NOT NULL,
    days          datemultirange CHECK (NOT isempty(days)),
    entries       bigint NOT NULL CHECK (entries > 0),
    run_id        uuid,
    changed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The rows themselves are found by the transaction that wrote both, and so need no copy.
    inserted_days date[],
    inserted_rows integer[]
);
COMMENT ON TABLE prop_trading_model.recon_changes IS
    'slices that trade-recon wrote, one row for an account and table of a transaction, in the order of their commits; old rows may be deleted';
COMMENT ON COLUMN prop_trading_model.recon_changes.days IS 'the dates; null where rows have none (alltime)';
COMMENT ON COLUMN prop_trading_model.recon_changes.entries IS
    'the number of entries that the row becomes in the feed: one for each date, else one';
COMMENT ON COLUMN prop_trading_model.recon_changes.run_id IS 'null: ids were mended outside a run';
COMMENT ON COLUMN prop_trading_model.recon_changes.inserted_days IS
    'the dates on which rows were inserted, ascending (null: alltime has none); null where none was, and before version 0130';
COMMENT ON COLUMN prop_trading_model.recon_changes.inserted_rows IS
    'how many rows were inserted on each of these dates';
CREATE INDEX recon_changes_inserted_of_account ON prop_trading_model.recon_changes (account_id, change_id)
    WHERE inserted_rows IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_changes_inserted_of_account IS
    'inserted: list_inserted_rows of an account, newest first';
CREATE INDEX recon_changes_inserted_of_run ON prop_trading_model.recon_changes (run_id, change_id)
    WHERE inserted_rows IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_changes_inserted_of_run IS
    'inserted: list_inserted_rows of a run, newest first';

CREATE TABLE prop_trading_model.recon_pins (
    table_name    text NOT NULL,
    row_key       text[] NOT NULL,
    account_id    varchar(255),
    date          date,
    upstream_date date,
    removed_id    bigint NOT NULL,
    run_id        uuid,
    reason        text,
    pinned_at     timestamptz NOT NULL DEFAULT now(),
    doubled_dates date[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (table_name, row_key)
);
COMMENT ON TABLE prop_trading_model.recon_pins IS
    'rows that were restored and pinned: no run overwrites, moves or removes them until they are released, or upstream sends the same values';
COMMENT ON COLUMN prop_trading_model.recon_pins.row_key IS 'the row''s key, of a trade without its date, as text';
COMMENT ON COLUMN prop_trading_model.recon_pins.upstream_date IS
    'where upstream has the row under another date, which then lacks it here; null: not known to';
COMMENT ON COLUMN prop_trading_model.recon_pins.removed_id IS 'the copy from which the row was restored';
COMMENT ON COLUMN prop_trading_model.recon_pins.run_id IS
    'the run that had changed the row; null: ids were repaired outside a run';
COMMENT ON COLUMN prop_trading_model.recon_pins.doubled_dates IS
    'the dates under which doubles of the trade were restored, beside the row of `date`';
CREATE INDEX recon_pins_account ON prop_trading_model.recon_pins (account_id, table_name);
COMMENT ON INDEX prop_trading_model.recon_pins_account IS 'detection: get_pins, and release_pins of an account';

CREATE TABLE prop_trading_model.recon_set_aside_rows (
    table_name  text NOT NULL,
    row_key     text NOT NULL,
    account_id  varchar(255),
    reason      text NOT NULL,
    row_data    json NOT NULL,
    run_id      uuid,
    first_seen  timestamptz NOT NULL DEFAULT now(),
    last_seen   timestamptz NOT NULL DEFAULT now(),
    row_digest  text NOT NULL DEFAULT '',
    copies      bigint NOT NULL DEFAULT 1,
    date        date,
    asked       text[],
    asked_dates datemultirange,
    PRIMARY KEY (table_name, row_key, row_digest)
);
COMMENT ON TABLE prop_trading_model.recon_set_aside_rows IS
    'rows that upstream sends and the warehouse cannot hold as they are, with the reason';
COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.row_digest IS
    'tells rows apart that share a key: MD5 of what was sent';
COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.copies IS 'how often the very same row was sent';
COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.date IS
    'the date of the row, by which it is taken off once the date was read without it; null where it has none';
COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.asked IS
    'of a row whose account cannot be told: the accounts for which it came, a hundred at most';
COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.asked_dates IS
    'of a row without a date: the dates for which it came and that were not read again without it since; null where all dates were asked for';
CREATE INDEX recon_set_aside_rows_of_account ON prop_trading_model.recon_set_aside_rows (account_id, table_name);
COMMENT ON INDEX prop_trading_model.recon_set_aside_rows_of_account IS 'changes: take_off_set_aside';

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
    closing_evidence jsonb,
    reopened         integer NOT NULL DEFAULT 0
);
COMMENT ON COLUMN prop_trading_model.recon_issue_history.reopened IS
    'how often in a row the same issue of the account was healed before and opened again right after';
CREATE UNIQUE INDEX recon_issue_history_open
    ON prop_trading_model.recon_issue_history (account_id, type) WHERE closed_at IS NULL;
COMMENT ON INDEX prop_trading_model.recon_issue_history_open IS 'record: an issue of an account is open once';
CREATE INDEX recon_issue_history_account ON prop_trading_model.recon_issue_history (account_id, opened_at DESC);
CREATE INDEX recon_issue_history_closed
    ON prop_trading_model.recon_issue_history (closed_at) WHERE closed_at IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_issue_history_closed IS 'retention: purge_issues';

CREATE TABLE prop_trading_model.recon_accepted_issues (
    acceptance_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id    varchar(255) NOT NULL,
    type          text NOT NULL,
    reason        text NOT NULL,
    until         date NOT NULL,
    evidence      jsonb NOT NULL,
    figures       text NOT NULL,
    seen          text NOT NULL,
    was_held      boolean NOT NULL,
    accepted_at   timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz,
    ended_as      text CHECK (ended_as IN ('withdrawn', 'replaced', 'changed', 'closed', 'expired')),
    ended_reason  text
);
COMMENT ON TABLE prop_trading_model.recon_accepted_issues IS
    'issues that somebody accepted, and those whose acceptance is over, with the reason';
COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.until IS 'the first date on which it counts again';
COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.evidence IS 'the issue as it was shown when it was accepted';
COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.figures IS
    'a digest of the figures that were accepted: where those of the issue are others, it counts again';
COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.seen IS
    'a digest of how the account''s tables disagreed: while it is the same, runs that compare counts do not ask upstream about it';
COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.was_held IS
    'the account was held: once the acceptance is over it is guarded as such';
CREATE UNIQUE INDEX recon_accepted_issues_open
    ON prop_trading_model.recon_accepted_issues (account_id, type) WHERE ended_at IS NULL;
COMMENT ON INDEX prop_trading_model.recon_accepted_issues_open IS
    'accepted: get_accepted, one acceptance of an issue at a time; report: what is accepted';
CREATE INDEX recon_accepted_issues_ended
    ON prop_trading_model.recon_accepted_issues (ended_at) WHERE ended_at IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_accepted_issues_ended IS 'retention: purge_accepted';

CREATE TABLE prop_trading_model.recon_few_hours (
    account_id varchar(255) PRIMARY KEY,
    dates      date[] NOT NULL,
    noted_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE prop_trading_model.recon_few_hours IS
    'accounts with dates of more than ten trades and a single hourly row (suspiciously_few_hours): shown, never healed; kept up by maintenance and runs';

CREATE TABLE prop_trading_model.recon_money_relations (
    relation   text PRIMARY KEY,
    accounts   bigint NOT NULL,
    holding    bigint NOT NULL,
    is_used    boolean NOT NULL,
    reason     text NOT NULL,
    learned_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE prop_trading_model.recon_money_relations IS
    'which sums of net profit and lots are equal between two tables: learned by each sweep, and used to find accounts where they are not (money_mismatch)';
COMMENT ON COLUMN prop_trading_model.recon_money_relations.accounts IS
    'accounts whose counts agree and that have an amount on either side';
COMMENT ON COLUMN prop_trading_model.recon_money_relations.holding IS
    'those of them for which both sides are equal but for rounding';
COMMENT ON COLUMN prop_trading_model.recon_money_relations.is_used IS
    'whether accounts for which it does not hold have the issue money_mismatch';
