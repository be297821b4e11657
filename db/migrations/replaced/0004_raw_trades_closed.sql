-- creates: raw_trades_closed
-- A table of the user's warehouse: made only in a database that does not have it yet, never changed afterwards.

CREATE TABLE prop_trading_model.raw_trades_closed (
    trade_date          date NOT NULL,
    broker              integer NOT NULL,
    manager             integer,
    platform            integer NOT NULL,
    ticket              varchar(255) NOT NULL,
    position            varchar(255) NOT NULL,
    login               varchar(255) NOT NULL,
    account_id          varchar(255),
    std_symbol          varchar(50),
    side                varchar(10),
    lots                numeric(18,4),
    contract_size       numeric(18,4),
    qty_in_base_ccy     numeric(18,4),
    volume_usd          numeric(18,4),
    stop_loss           numeric(18,6),
    take_profit         numeric(18,6),
    open_time           timestamp,
    open_price          numeric(18,6),
    close_time          timestamp,
    close_price         numeric(18,6),
    duration            numeric(18,2),
    profit              numeric(18,2),
    commission          numeric(18,2),
    fee                 numeric(18,2),
    swap                numeric(18,2),
    comment             varchar(255),
    ingestion_timestamp timestamp DEFAULT (now() AT TIME ZONE 'UTC'),
    source_api_endpoint varchar(500),
    PRIMARY KEY (platform, broker, login, position, ticket, trade_date) INCLUDE (account_id)
) PARTITION BY RANGE (trade_date);

CREATE INDEX raw_trades_closed_account_day ON prop_trading_model.raw_trades_closed (account_id, trade_date) INCLUDE (login, platform, broker);
COMMENT ON INDEX prop_trading_model.raw_trades_closed_account_day IS 'detection and identity: the day matrix and find_foreign_ids read this index alone';
CREATE INDEX raw_trades_closed_without_account ON prop_trading_model.raw_trades_closed (login, platform, broker, trade_date) WHERE account_id IS NULL;
COMMENT ON INDEX prop_trading_model.raw_trades_closed_without_account IS 'identity: find_null_ids and mend_trade_ids';
