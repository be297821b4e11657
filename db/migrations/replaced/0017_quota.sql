-- One row that all replicas draw the API's permits from: how far the quota is spent.

-- Nine tenths of the row's page are free: each draw is a heap-only update.
CREATE TABLE prop_trading_model.recon_quota (
    singleton   boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    spent_until timestamptz NOT NULL,
    drawn_at    timestamptz NOT NULL,
    permits     bigint NOT NULL
) WITH (fillfactor = 10);
-- A draw then waits for no disk and no standby, and what a crash forgets is not needed: without the row nobody sends
-- until all permits that may be under way are past. Not CREATE UNLOGGED TABLE: by the plain words the survey of a warehouse knows our names.
ALTER TABLE prop_trading_model.recon_quota SET UNLOGGED;
COMMENT ON TABLE prop_trading_model.recon_quota IS 'one row: how far the quota of the upstream API is spent, over all replicas';
COMMENT ON COLUMN prop_trading_model.recon_quota.spent_until IS 'when the next permit is due (the theoretical arrival time of GCRA)';
COMMENT ON COLUMN prop_trading_model.recon_quota.drawn_at IS 'the database''s clock at the last draw';
COMMENT ON COLUMN prop_trading_model.recon_quota.permits IS 'what the last draw gave; 0: more than enough is drawn ahead already';
-- Nobody has sent anything yet.
INSERT INTO prop_trading_model.recon_quota (spent_until, drawn_at, permits) VALUES ('-infinity', '-infinity', 0);
