-- A trade that was stored under several dates is told from one that was moved: a run removes the double, and an undo brings it back beside the other one.

ALTER TABLE prop_trading_model.recon_removed_rows ADD COLUMN right_date date;
COMMENT ON COLUMN prop_trading_model.recon_removed_rows.right_date IS
    'where a trade was removed since it was stored twice: the date under which upstream has it, and it stays; null: no double, or kept before version 0160';

ALTER TABLE prop_trading_model.recon_pins ADD COLUMN doubled_dates date[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN prop_trading_model.recon_pins.doubled_dates IS 'the dates under which doubles of the trade were restored, beside the row of `date`';
