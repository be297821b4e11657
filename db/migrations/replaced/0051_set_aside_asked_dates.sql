-- Metrics rows without a date are taken off, too: once each date for which they came was read again without them.

ALTER TABLE prop_trading_model.recon_set_aside_rows ALTER COLUMN asked_dates TYPE datemultirange USING datemultirange(asked_dates);
COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.asked_dates IS
    'of a row without a date: the dates for which it came and that were not read again without it since; null where all dates were asked for';
