-- Amounts are compared where counts are: what the sweep learned of them, and which accounts disagree.

ALTER TABLE prop_trading_model.trade_recon ADD COLUMN IF NOT EXISTS mismatched_money bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN prop_trading_model.trade_recon.mismatched_money IS
    'dates on which net profit or lots disagree between tables whose counts agree; 1 where only the totals do';

CREATE TABLE prop_trading_model.recon_money_relations (
    relation   text PRIMARY KEY,
    accounts   bigint NOT NULL,
    holding    bigint NOT NULL,
    is_used    boolean NOT NULL,
    reason     text NOT NULL,
    learned_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE prop_trading_model.recon_money_relations IS
    'which sums of net profit and lots are equal between two tables: learned by each sweep, and used to find accounts where they are not (money_mismatch)';
COMMENT ON COLUMN prop_trading_model.recon_money_relations.accounts IS 'accounts whose counts agree and that have an amount on either side';
COMMENT ON COLUMN prop_trading_model.recon_money_relations.holding IS 'those of them for which both sides are equal but for rounding';
COMMENT ON COLUMN prop_trading_model.recon_money_relations.is_used IS 'whether accounts for which it does not hold have the issue money_mismatch';

CREATE OR REPLACE VIEW prop_trading_model.v_recon_mismatched AS
SELECT account_id FROM prop_trading_model.trade_recon
WHERE NOT trades_recon_checksum OR mismatched_days > 0 OR mismatched_money > 0 OR issues <> '[]'
UNION
SELECT account_id FROM prop_trading_model.recon_descents
UNION
SELECT account_id FROM prop_trading_model.recon_issue_history WHERE closed_at IS NULL;

-- Amounts are read from the indexes that hold the counts. Only in tables that we made and that are still small: elsewhere it would keep ingestion
-- waiting, and `trade-recon adopt` prints the statements that do not. A key on which somebody else's objects depend stays as it is.
DO $$
DECLARE
    wanted record;
    raw_table regclass;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('raw_metrics_daily', 'raw_metrics_daily_pkey', '(account_id, date) INCLUDE (num_trades, login, platform, broker', ', net_profit, total_lots)'),
            ('raw_metrics_hourly', 'raw_metrics_hourly_pkey', '(account_id, date, hour) INCLUDE (num_trades, login', ', net_profit, total_lots)'),
            ('raw_trades_closed', 'raw_trades_closed_account_day', '(account_id, trade_date) INCLUDE (login, platform, broker', ', profit, lots)')
        ) AS indexes (raw, name, stands, gains)
    LOOP
        raw_table := to_regclass(format('%I.%I', 'prop_trading_model', wanted.raw));
        CONTINUE WHEN raw_table IS NULL
            OR NOT EXISTS (SELECT FROM prop_trading_model.recon_migrations WHERE right(name, -5) = wanted.raw AND NOT adopted)
            OR (SELECT sum(pg_relation_size(relid)) > 67108864 FROM pg_partition_tree(raw_table))
            OR NOT EXISTS (
                SELECT FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
                WHERE i.indrelid = raw_table AND c.relname = wanted.name AND NOT i.indisreplident
                  AND right(pg_get_indexdef(c.oid), length(wanted.stands) + 1) = wanted.stands || ')'
            );
        BEGIN
            IF right(wanted.name, 5) = '_pkey' THEN
                EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I PRIMARY KEY %s%s',
                    raw_table, wanted.name, wanted.name, wanted.stands, wanted.gains);
            ELSE
                EXECUTE format('DROP INDEX %I.%I', 'prop_trading_model', wanted.name);
                EXECUTE format('CREATE INDEX %I ON %s %s%s', wanted.name, raw_table, wanted.stands, wanted.gains);
                EXECUTE format('COMMENT ON INDEX %I.%I IS %L', 'prop_trading_model', wanted.name,
                    'detection and identity: the day matrix with its amounts and find_foreign_ids read this index alone');
            END IF;
        EXCEPTION WHEN dependent_objects_still_exist OR undefined_column THEN
            NULL;
        END;
    END LOOP;
END
$$;
