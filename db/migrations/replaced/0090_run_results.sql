-- What a run did, by table, date and broker: rows that were inserted leave no copy, so they are counted where they are written.

CREATE TABLE prop_trading_model.recon_run_inserts (
    insert_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     uuid NOT NULL,
    table_name text NOT NULL,
    date       date,
    broker     text,
    rows       bigint NOT NULL
);
CREATE INDEX recon_run_inserts_run ON prop_trading_model.recon_run_inserts (run_id);
COMMENT ON INDEX prop_trading_model.recon_run_inserts_run IS 'runs: get_run_result';
COMMENT ON TABLE prop_trading_model.recon_run_inserts IS
    'rows that runs inserted, by table, date and broker: written with them, one transaction after the other, and summed up when they are read';

ALTER TABLE prop_trading_model.recon_attempts ADD COLUMN own_seconds double precision;
COMMENT ON COLUMN prop_trading_model.recon_attempts.own_seconds IS
    'what the account took of the time of its requests, from the first page to the write: the time of each is shared by the accounts that it is for';
