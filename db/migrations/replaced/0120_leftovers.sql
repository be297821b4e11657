-- What a run leaves behind: whether somebody must act follows from it, and natural keys without an account are news only once.

ALTER TABLE prop_trading_model.recon_runs ADD COLUMN left_over jsonb;
COMMENT ON COLUMN prop_trading_model.recon_runs.left_over IS
    'what the run left when it ended, by kind, and new_issues: accounts with an issue that it was the first to find; null: not ended, or by an earlier version';

CREATE TABLE prop_trading_model.recon_unmatched_keys (
    table_name text NOT NULL,
    login      text NOT NULL,
    platform   text NOT NULL,
    broker     text NOT NULL,
    first_run  uuid NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_name, login, platform, broker)
);
COMMENT ON TABLE prop_trading_model.recon_unmatched_keys IS
    'natural keys of stored rows that fit no account or several, and the first run that ended with each: later runs know it';
