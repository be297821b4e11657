-- Requests that fail for several accounts are made smaller until one account fails alone: what that cost a run, and what it found.

ALTER TABLE prop_trading_model.recon_runs
    ADD COLUMN search_requests bigint NOT NULL DEFAULT 0,
    ADD COLUMN known_search_requests bigint NOT NULL DEFAULT 0,
    ADD COLUMN fault text;
COMMENT ON COLUMN prop_trading_model.recon_runs.search_requests IS
    'requests that failed while accounts were searched for that make requests for several fail; the run stops to search at RECON_SEARCH_REQUESTS';
COMMENT ON COLUMN prop_trading_model.recon_runs.known_search_requests IS 'the same for accounts that had failed before, with a limit of their own';
COMMENT ON COLUMN prop_trading_model.recon_runs.fault IS 'why the run ends as failed once nothing of it waits any more: an endpoint of the API answered nobody';
COMMENT ON COLUMN prop_trading_model.recon_attempts.postponed_until IS
    'a fetch for the account could not be completed: not before this time it is read once more; infinity: it failed together with others and was not tried alone, the next run takes it; null: that has not happened in this run';
