-- Daily and alltime rows that carry the id of an account which did not hold their natural key then: they say nothing of who held it.

CREATE TABLE prop_trading_model.recon_foreign_metrics (
    login    text NOT NULL,
    platform text NOT NULL,
    broker   text NOT NULL,
    holder   text NOT NULL,
    owner    text NOT NULL,
    days     date[] NOT NULL,
    own_from date,
    own_to   date,
    PRIMARY KEY (login, platform, broker, holder)
);
COMMENT ON TABLE prop_trading_model.recon_foreign_metrics IS
    'daily rows under an id (holder) that is not their natural key''s: on these days another account (owner) has rows under the key, and alltime does not give it to the holder; no days: the alltime row; rebuilt by maintenance';
COMMENT ON COLUMN prop_trading_model.recon_foreign_metrics.own_from IS 'the first of the holder''s other daily rows under the key; null: there are none';

-- What was said of accounts as a whole is asked about once more: earlier versions said it of accounts that upstream has.
UPDATE prop_trading_model.trade_recon SET ask_again_at = NULL
WHERE ask_again_at IS NOT NULL AND issues @> '[{"type": "absent_upstream"}]';
