-- What people ordered, when and why: it stays in the record beside what came of it.

CREATE TABLE prop_trading_model.recon_orders (
    order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    what     text NOT NULL,
    run_id   uuid,
    reason   text,
    given_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX recon_orders_run ON prop_trading_model.recon_orders (run_id, order_id) WHERE run_id IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_orders_run IS 'orders: get_orders_of_run';
COMMENT ON TABLE prop_trading_model.recon_orders IS 'orders that people gave (start, pause, resume, cancel, confirm, restore, release, maintenance), with their reasons';
COMMENT ON COLUMN prop_trading_model.recon_orders.run_id IS 'the run that was ordered or steered, or whose changes were restored or released; null: none';
