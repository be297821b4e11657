-- Rows that are set aside under no account, or without a date, are taken off once what brought them was read again without them.

ALTER TABLE prop_trading_model.recon_set_aside_rows
    ADD COLUMN asked text[],
    ADD COLUMN asked_dates daterange;
COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.asked IS 'of a row whose account cannot be told: the accounts for which it came, a hundred at most';
COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.asked_dates IS 'of a trade without a date: the fewest dates for which it came';
