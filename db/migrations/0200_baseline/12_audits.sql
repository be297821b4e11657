-- What audits keep: what they saw, what they found, what is to be read again; and the history that is compared.

-- Logged, unlike staging: emptied by a crash of PostgreSQL, a scan would read as an upstream that has nothing.
CREATE TABLE prop_trading_model.recon_scan (
    run_id       uuid NOT NULL,
    account_id   varchar(255) NOT NULL,
    num_trades   numeric,
    net_profit   numeric,
    total_lots   numeric,
    sends_trades boolean NOT NULL,
    sends_profit boolean NOT NULL,
    sends_lots   boolean NOT NULL,
    login        text,
    platform     text,
    broker       text,
    sent_id      text,
    PRIMARY KEY (run_id, account_id)
);
COMMENT ON TABLE prop_trading_model.recon_scan IS
    'what an audit saw of upstream''s alltime metrics, and which figures were sent at all; its rows go when the run ends';
COMMENT ON COLUMN prop_trading_model.recon_scan.sent_id IS 'the id that was sent, where it is shared';

CREATE TABLE prop_trading_model.recon_scan_days (
    run_id     uuid NOT NULL,
    account_id varchar(255) NOT NULL,
    date       date NOT NULL,
    num_trades numeric,
    net_profit numeric,
    total_lots numeric,
    PRIMARY KEY (run_id, account_id, date)
);

CREATE TABLE prop_trading_model.recon_drift (
    run_id     uuid NOT NULL,
    account_id varchar(255) NOT NULL,
    absent     boolean NOT NULL,
    evidence   jsonb NOT NULL,
    PRIMARY KEY (run_id, account_id)
);
COMMENT ON TABLE prop_trading_model.recon_drift IS
    'accounts that an audit found different from upstream, or absent there';

CREATE TABLE prop_trading_model.recon_descents (
    account_id varchar(255) NOT NULL,
    date       date NOT NULL,
    PRIMARY KEY (account_id, date)
);
COMMENT ON TABLE prop_trading_model.recon_descents IS
    'dates whose daily row an audit''s heal changed and whose hourly rows and trades were not read since; written with the daily row';

CREATE TABLE prop_trading_model.recon_doubted_dates (
    account_id varchar(255) NOT NULL,
    date       date NOT NULL,
    noted_at   timestamptz NOT NULL DEFAULT now(),
    read_at    timestamptz,
    read_run   uuid,
    PRIMARY KEY (account_id, date)
);
COMMENT ON TABLE prop_trading_model.recon_doubted_dates IS
    'settled dates on which a run lowered, blanked or removed figures since upstream said so: audits read daily, hourly rows and trades of them again for a week';
COMMENT ON COLUMN prop_trading_model.recon_doubted_dates.noted_at IS
    'when figures were lowered there for the last time';
COMMENT ON COLUMN prop_trading_model.recon_doubted_dates.read_at IS 'when an audit last took the date to read it again';
COMMENT ON COLUMN prop_trading_model.recon_doubted_dates.read_run IS 'the audit that did';
CREATE INDEX recon_doubted_dates_of_run ON prop_trading_model.recon_doubted_dates (read_run, account_id);
COMMENT ON INDEX prop_trading_model.recon_doubted_dates_of_run IS 'runs: enqueue_audited; detection: get_doubts';

CREATE TABLE prop_trading_model.recon_history (
    account_id   text PRIMARY KEY,
    history_from date NOT NULL,
    trades       bigint NOT NULL,
    net_profit   numeric,
    total_lots   numeric,
    read_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE prop_trading_model.recon_history IS
    'what upstream''s daily rows count of an account before the history that the warehouse keeps: alltime less that is what all other tables are compared with';
COMMENT ON COLUMN prop_trading_model.recon_history.history_from IS 'the first date that is not counted here';

CREATE TABLE prop_trading_model.recon_window (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    first_day date,
    noted_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE prop_trading_model.recon_window IS
    'the first date of the history that runs compare, by RECON_HISTORY_FROM (one row); null: all';
INSERT INTO prop_trading_model.recon_window DEFAULT VALUES;
