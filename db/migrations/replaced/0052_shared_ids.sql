-- One account id for several natural keys, as an API sends that writes 0 where it knows none: such an id tells no account.

CREATE TABLE prop_trading_model.recon_shared_ids (
    account_id text PRIMARY KEY,
    run_id     uuid,
    seen_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE prop_trading_model.recon_shared_ids IS
    'account ids that upstream sent for several natural keys in alltime answers: rows with such an id count as rows without one, until an audit sees it for one key alone';
COMMENT ON COLUMN prop_trading_model.recon_shared_ids.run_id IS 'the audit that saw it last; null: a fetch by logins did';

ALTER TABLE prop_trading_model.recon_scan ADD COLUMN sent_id text;
COMMENT ON COLUMN prop_trading_model.recon_scan.sent_id IS 'the id that was sent, where it is shared';
