-- What our objects looked like when migrations left them, so that `migrate` and `doctor` find those that were replaced, dropped or
-- given a double.

CREATE TABLE prop_trading_model.recon_definitions (
    kind       text NOT NULL CHECK (kind IN ('function', 'view', 'materialized view', 'index', 'column', 'trigger')),
    name       text NOT NULL,
    definition text NOT NULL,
    beside     text[] NOT NULL,
    made       bigint NOT NULL,
    server     integer NOT NULL,
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE prop_trading_model.recon_definitions IS
    'functions, views, the account list, columns of trade_recon and triggers as the last migrate left them; others are found by comparing with it';
COMMENT ON COLUMN prop_trading_model.recon_definitions.name IS
    'a function with the types of its arguments, a trigger with its table';
COMMENT ON COLUMN prop_trading_model.recon_definitions.beside IS
    'the statements that give its comment and its grants back';
COMMENT ON COLUMN prop_trading_model.recon_definitions.made IS 'the order in which they can be made again';
COMMENT ON COLUMN prop_trading_model.recon_definitions.server IS
    'the major version of PostgreSQL that wrote the definition: another one may write the same otherwise';
