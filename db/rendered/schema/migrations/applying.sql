-- name: has_relation
-- Whether the schema $1 has a relation $2. Not by to_regclass, which in a transaction that waited
-- for the lock may go on denying what was made meanwhile.
SELECT EXISTS
    (SELECT FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
    AND relname = $2)

-- name: has_schema
-- Whether there is a schema $1.
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)

-- name: create_ledger
-- The record of migrations; `adopted`: what the file creates stood there before.
CREATE TABLE "prop_trading_model".recon_migrations
    (name text PRIMARY KEY, adopted boolean NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())

-- name: is_applied
-- Whether the migration $1 was applied.
SELECT true FROM "prop_trading_model".recon_migrations WHERE name = $1

-- name: note_applied
-- The migration $1 is applied; $2: what it creates stood there before.
INSERT INTO "prop_trading_model".recon_migrations (name, adopted) VALUES ($1, $2)
