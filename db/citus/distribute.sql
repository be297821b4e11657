-- Distributes a migrated warehouse by `login` with the Citus extension (11 or newer): the five raw tables become tables of
-- shards that lie together, whose joins on `login` need no network. trade_recon, staging and all other tables of ours stay
-- ordinary tables of the coordinator, where the service goes on connecting.
--
--     psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -f db/citus/distribute.sql
--
-- Before it: Citus stands in shared_preload_libraries of all servers; the nodes are known (citus_set_coordinator_host,
-- citus_add_node; without any the coordinator is the one node); `trade-recon migrate` was run; the service and ingestion are
-- stopped. Run it as a superuser or as the owner of the tables, with the extension made. Each table is locked while its rows
-- are copied to the shards, and is done or not done at all: after an error in the middle, run it again, and it goes on with
-- the tables that are left. Run twice it changes nothing. How many shards: SET citus.shard_count before it (32).
--
-- What changes for others:
-- * Unique keys that lack `login` get it as their last column, for Citus only keeps a key that holds the shard's column. The
--   metrics tables of a fresh install are then keyed by (account_id, login), (account_id, date, login) and
--   (account_id, date, hour, login): ingestion must name these columns in its ON CONFLICT. The keys of trades have it already.
-- * An account whose login changes can have rows under both: trade-recon moves them when it heals the account.
-- * `login` of a metrics row can neither be NULL nor be updated. Rows without one are counted before anything is changed and
--   stop the script; what to do with them is said there.
-- * Triggers and foreign keys of the raw tables stop it too: Citus has neither for tables like these.
--
-- * Of two transactions that update or delete rows of one table by anything but its login the second would wait for the first, on
--   whatever rows. At the end that is turned off for this database (citus.all_modifications_commutative), which is safe while
--   each shard is stored once.
-- * The catalogue of this database shows the shards to sessions named trade-recon (citus.show_shards_for_app_name_prefixes):
--   hiding them costs a look at each shard, and every new connection of the service seconds.
-- * The service's limits on waiting for locks do not reach the other nodes: give its role one that does, such as
--   ALTER ROLE trade_recon SET lock_timeout = '3s', or a row that somebody holds there costs the time of a whole statement.
--
-- Written for the schema prop_trading_model; for another one: sed 's/prop_trading_model/NAME/g'.

-- What it says of each copied table is of no use here.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS citus;

-- Looks alone: what stands in the way is told at once, while nothing is changed.
DO $$
DECLARE
    raw text;
    raw_table regclass;
    rows bigint;
    problems text[] := '{}';
    found text;
BEGIN
    IF to_regclass('prop_trading_model.recon_migrations') IS NULL THEN
        RAISE EXCEPTION 'The schema prop_trading_model was never migrated: run `trade-recon migrate` first. Nothing was changed.';
    END IF;
    FOREACH raw IN ARRAY ARRAY['raw_metrics_alltime', 'raw_metrics_daily', 'raw_metrics_hourly', 'raw_trades_closed', 'raw_trades_open'] LOOP
        raw_table := to_regclass(format('%I.%I', 'prop_trading_model', raw));
        IF raw_table IS NULL THEN
            RAISE EXCEPTION '% is missing: run `trade-recon migrate` first. Nothing was changed.', raw;
        END IF;
        SELECT format('%s is distributed by %s already, not by login', raw, coalesce(column_to_column_name(logicalrelid, partkey), 'no column'))
        INTO found FROM pg_dist_partition
        WHERE logicalrelid = raw_table AND (partmethod <> 'h' OR column_to_column_name(logicalrelid, partkey) <> 'login');
        IF FOUND THEN
            problems := problems || found;
        END IF;
        CONTINUE WHEN EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = raw_table);
        EXECUTE format('SELECT count(*) FROM %s WHERE login IS NULL', raw_table) INTO rows;
        IF rows > 0 THEN
            problems := problems || format(
                '%s has %s rows without login, which belong to no shard: give them the login of their account where another row tells it'
                ' (UPDATE %s AS t SET login = a.login FROM %I.raw_metrics_alltime AS a WHERE t.login IS NULL AND a.account_id = t.account_id),'
                ' and move the others into a table of your own', raw, rows, raw_table, 'prop_trading_model'
            );
        END IF;
        SELECT string_agg(tgname, ', ') INTO found FROM pg_trigger WHERE tgrelid = raw_table AND NOT tgisinternal;
        IF found IS NOT NULL THEN
            problems := problems || format('%s has triggers (%s), which Citus does not run: drop them', raw, found);
        END IF;
        SELECT string_agg(format('%s of %s', conname, conrelid::regclass), ', ') INTO found
        FROM pg_constraint WHERE contype = 'f' AND raw_table IN (conrelid, confrelid) AND conparentid = 0;
        IF found IS NOT NULL THEN
            problems := problems || format('%s has foreign keys (%s), which Citus does not keep across nodes: drop them', raw, found);
        END IF;
        SELECT string_agg(conname, ', ') INTO found FROM pg_constraint WHERE contype = 'x' AND conrelid = raw_table AND conparentid = 0;
        IF found IS NOT NULL THEN
            problems := problems || format('%s has exclusion constraints (%s): drop them', raw, found);
        END IF;
    END LOOP;
    SELECT string_agg(DISTINCT format_type(atttypid, NULL), ', ') INTO found
    FROM pg_attribute
    WHERE attname = 'login' AND attrelid = ANY (ARRAY[
        'prop_trading_model.raw_metrics_alltime', 'prop_trading_model.raw_metrics_daily', 'prop_trading_model.raw_metrics_hourly',
        'prop_trading_model.raw_trades_closed', 'prop_trading_model.raw_trades_open']::regclass[])
    HAVING count(DISTINCT (atttypid, attcollation)) > 1;
    IF found IS NOT NULL THEN
        problems := problems || format(
            'login has several types or collations in the raw tables (%s): equal logins would lie in different shards; give it one', found
        );
    END IF;
    IF problems <> '{}' THEN
        RAISE EXCEPTION E'The warehouse cannot be distributed as it stands; nothing was changed:\n- %.', array_to_string(problems, E';\n- ');
    END IF;
END
$$;

-- The shards ask them of their rows.
DO $$
DECLARE
    asked text;
BEGIN
    FOREACH asked IN ARRAY ARRAY[
        'recon_is_placeholder(text, text, text, text)', 'recon_count(smallint)', 'recon_count(integer)', 'recon_count(bigint)', 'recon_count(numeric)', 'recon_count(real)',
        'recon_count(double precision)'
    ] LOOP
        IF NOT EXISTS (
            SELECT FROM pg_catalog.pg_dist_object
            WHERE classid = 'pg_proc'::regclass AND objid = ('prop_trading_model.' || asked)::regprocedure
        ) THEN
            PERFORM create_distributed_function('prop_trading_model.' || asked);
        END IF;
    END LOOP;
END
$$;

-- One table: its unique keys get `login`, what else its indexes cover stays, then its rows go to the shards.
SET client_min_messages = error;
CREATE FUNCTION pg_temp.distribute(raw text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    raw_table regclass := format('%I.%I', 'prop_trading_model', raw);
    neighbour text;
    old record;
BEGIN
    IF EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = raw_table) THEN
        RETURN raw || ' was distributed before';
    END IF;
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', raw_table);
    EXECUTE format('ALTER TABLE %s ALTER COLUMN login SET NOT NULL', raw_table);
    FOR old IN
        SELECT
            c.relname AS name, k.conname AS constraint_name, k.contype, i.indnullsnotdistinct AS nulls_are_equal,
            obj_description(i.indexrelid, 'pg_class') AS purpose, pg_get_expr(i.indpred, i.indrelid) AS condition,
            (
                SELECT string_agg(pg_get_indexdef(i.indexrelid, place, true), ', ' ORDER BY place) FROM generate_series(1, i.indnkeyatts) AS place
            ) AS columns,
            (
                SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY covered.place)
                FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS covered (number, place)
                JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = covered.number
                WHERE covered.place > i.indnkeyatts AND a.attname <> 'login'
            ) AS covered
        FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indexrelid
        LEFT JOIN pg_constraint AS k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u')
        WHERE i.indrelid = raw_table AND i.indisunique
          AND NOT EXISTS (
              SELECT FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS keyed (number, place)
              JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = keyed.number
              WHERE keyed.place <= i.indnkeyatts AND a.attname = 'login'
          )
    LOOP
        IF old.constraint_name IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', raw_table, old.constraint_name);
            EXECUTE format(
                'ALTER TABLE %s ADD CONSTRAINT %I %s (%s, login)%s', raw_table, old.constraint_name,
                CASE WHEN old.contype = 'p' THEN 'PRIMARY KEY' WHEN old.nulls_are_equal THEN 'UNIQUE NULLS NOT DISTINCT' ELSE 'UNIQUE' END,
                old.columns, ' INCLUDE (' || old.covered || ')'
            );
        ELSE
            EXECUTE format('DROP INDEX %I.%I', 'prop_trading_model', old.name);
            EXECUTE format(
                'CREATE UNIQUE INDEX %I ON %s (%s, login)%s%s%s', old.name, raw_table, old.columns, ' INCLUDE (' || old.covered || ')',
                CASE WHEN old.nulls_are_equal THEN ' NULLS NOT DISTINCT' END, ' WHERE ' || old.condition
            );
        END IF;
        IF old.purpose IS NOT NULL THEN
            EXECUTE format('COMMENT ON INDEX %I.%I IS %L', 'prop_trading_model', coalesce(old.constraint_name, old.name), old.purpose);
        END IF;
    END LOOP;
    -- Beside the raw tables that are distributed already, if any: equal logins lie on one node.
    SELECT logicalrelid::text INTO neighbour
    FROM pg_dist_partition
    WHERE logicalrelid = ANY (ARRAY[
        'prop_trading_model.raw_metrics_alltime', 'prop_trading_model.raw_metrics_daily', 'prop_trading_model.raw_metrics_hourly',
        'prop_trading_model.raw_trades_closed', 'prop_trading_model.raw_trades_open']::regclass[])
    LIMIT 1;
    PERFORM create_distributed_table(raw_table, 'login', colocate_with => coalesce(neighbour, 'none'));
    -- The rows as they stood before the copy take their room until then.
    PERFORM truncate_local_data_after_distributing_table(raw_table);
    RETURN raw || ' is distributed';
END
$$;

SET client_min_messages = warning;
SELECT pg_temp.distribute('raw_metrics_alltime') AS result;
SELECT pg_temp.distribute('raw_metrics_daily') AS result;
SELECT pg_temp.distribute('raw_metrics_hourly') AS result;
SELECT pg_temp.distribute('raw_trades_closed') AS result;
SELECT pg_temp.distribute('raw_trades_open') AS result;
DROP FUNCTION pg_temp.distribute(text);
RESET client_min_messages;

-- The service plans by what is known of all shards.
ANALYZE prop_trading_model.raw_metrics_alltime, prop_trading_model.raw_metrics_daily, prop_trading_model.raw_metrics_hourly,
        prop_trading_model.raw_trades_closed, prop_trading_model.raw_trades_open;

-- A new connection of the service asks the catalogue about types.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET citus.show_shards_for_app_name_prefixes = %L', current_database(), 'trade-recon');
END
$$;

-- Waiting in line for a table protects nothing but copies of a shard.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_dist_placement JOIN pg_dist_shard USING (shardid) JOIN pg_dist_partition USING (logicalrelid)
        WHERE partmethod = 'h' GROUP BY shardid HAVING count(*) > 1
    ) THEN
        RAISE WARNING 'Some shards of this database are stored more than once: workers of trade-recon will wait for each other.';
    ELSE
        EXECUTE format('ALTER DATABASE %I SET citus.all_modifications_commutative = on', current_database());
    END IF;
END
$$;
