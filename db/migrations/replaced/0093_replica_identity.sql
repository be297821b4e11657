-- A publication of all tables takes no deletes from a table without a replica identity: these have no primary key.

ALTER TABLE prop_trading_model.recon_identity_findings REPLICA IDENTITY FULL;

DO $$
BEGIN
    IF to_regclass(format('%I.%I', 'prop_trading_model', 'recon_earlier_trade_recon')) IS NOT NULL THEN
        ALTER TABLE prop_trading_model.recon_earlier_trade_recon REPLICA IDENTITY FULL;
    END IF;
END
$$;
