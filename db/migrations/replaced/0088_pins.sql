-- Rows that a restore brought back stay as they are until somebody releases them, or upstream says the same.

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
    PRIMARY KEY (table_name, row_key)
);
CREATE INDEX recon_pins_account ON prop_trading_model.recon_pins (account_id, table_name);
COMMENT ON INDEX prop_trading_model.recon_pins_account IS 'detection: get_pins, and release_pins of an account';
COMMENT ON TABLE prop_trading_model.recon_pins IS
    'rows that were restored and pinned: no run overwrites, moves or removes them until they are released, or upstream sends the same values';
COMMENT ON COLUMN prop_trading_model.recon_pins.row_key IS 'the row''s key, of a trade without its date, as text';
COMMENT ON COLUMN prop_trading_model.recon_pins.upstream_date IS 'where upstream has the row under another date, which then lacks it here; null: not known to';
COMMENT ON COLUMN prop_trading_model.recon_pins.removed_id IS 'the copy from which the row was restored';
COMMENT ON COLUMN prop_trading_model.recon_pins.run_id IS 'the run that had changed the row; null: ids were repaired outside a run';
