-- Dates that runs lowered on the word of upstream: audits read them again, since upstream may have been sick.

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
COMMENT ON COLUMN prop_trading_model.recon_doubted_dates.noted_at IS 'when figures were lowered there for the last time';
COMMENT ON COLUMN prop_trading_model.recon_doubted_dates.read_at IS 'when an audit last took the date to read it again';
COMMENT ON COLUMN prop_trading_model.recon_doubted_dates.read_run IS 'the audit that did';
CREATE INDEX recon_doubted_dates_of_run ON prop_trading_model.recon_doubted_dates (read_run, account_id);
COMMENT ON INDEX prop_trading_model.recon_doubted_dates_of_run IS 'runs: enqueue_audited; detection: get_doubts';
