-- name: has_relation
-- Whether schema $1 has a relation $2. to_regclass would not do: in a transaction that waited for
-- the lock it may still miss what was made meanwhile.
SELECT EXISTS
    (SELECT FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
    AND relname = $2)

-- name: has_schema
-- Whether schema $1 exists.
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)

-- name: create_ledger
-- Create the record of migrations; `adopted`: the table that the file creates stood there before.
CREATE TABLE "prop_trading_model".recon_migrations
    (name text PRIMARY KEY, adopted boolean NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())

-- name: is_applied
-- Whether migration $1 was applied.
SELECT true FROM "prop_trading_model".recon_migrations WHERE name = $1

-- name: note_applied
-- Record migration $1 as applied; $2: the table that it creates stood there before.
INSERT INTO "prop_trading_model".recon_migrations (name, adopted) VALUES ($1, $2)
