-- Each process tells what keeps its work from going on, so that whoever asks for a run hears it, whichever process answers.

ALTER TABLE prop_trading_model.recon_workers
    ADD COLUMN only_run     uuid,
    ADD COLUMN waits_for    text,
    ADD COLUMN waits_detail text,
    ADD COLUMN waits_since  timestamptz,
    ADD COLUMN next_try_at  timestamptz,
    ADD COLUMN given_up_at  timestamptz;
COMMENT ON COLUMN prop_trading_model.recon_workers.only_run IS 'the only run that the process serves; null: all of them';
COMMENT ON COLUMN prop_trading_model.recon_workers.waits_for IS
    'what keeps the work of the process from going on: upstream_down, upstream_throttles, quota or locks; null: nothing';
COMMENT ON COLUMN prop_trading_model.recon_workers.waits_detail IS 'the error of the last try';
COMMENT ON COLUMN prop_trading_model.recon_workers.next_try_at IS 'when the process tries again; null: soon';
COMMENT ON COLUMN prop_trading_model.recon_workers.given_up_at IS 'when the runs that wait are given up; null: they wait as long as it takes';

ALTER TABLE prop_trading_model.recon_runs ADD COLUMN paused_at timestamptz;
COMMENT ON COLUMN prop_trading_model.recon_runs.paused_at IS 'since when the run is paused';
