-- How far batches are that are under way, told by each process with its heartbeat; and each account's own share of the requests of its batch.

ALTER TABLE prop_trading_model.recon_workers ADD COLUMN under_way jsonb;
COMMENT ON COLUMN prop_trading_model.recon_workers.under_way IS
    'the batches that the process works on, by run: accounts, those of which nothing more is to be read, requests and rows written; null: none';

ALTER TABLE prop_trading_model.recon_attempts ADD COLUMN own_requests double precision;
COMMENT ON COLUMN prop_trading_model.recon_attempts.own_requests IS
    'what the account took of the requests of its batch: one that is for several accounts is shared by them in equal parts';
