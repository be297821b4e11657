-- name: list_references
-- Foreign keys of other tables to trade_recon: the table, whether we see all its rows, whether
-- deleting a referenced row deletes or changes these, and the condition that its row r refers to
-- row t.
SELECT
    k.conrelid::regclass::text AS table,
    has_table_privilege(k.conrelid, 'SELECT')
        AND NOT row_security_active(k.conrelid) AS is_readable,
    k.confdeltype IN ('c', 'n', 'd') AS acts,
    (
        SELECT string_agg(format('t.%I OPERATOR(%I.%s) r.%I', there.attname,
            o.oprnamespace::regnamespace, o.oprname, here.attname), ' AND ' ORDER BY pair.place)
        FROM unnest(k.confkey, k.conkey, k.conpfeqop) WITH ORDINALITY
            AS pair (there, here, operator, place)
        JOIN pg_attribute AS there ON there.attrelid = k.confrelid AND there.attnum = pair.there
        JOIN pg_attribute AS here ON here.attrelid = k.conrelid AND here.attnum = pair.here
        JOIN pg_operator AS o ON o.oid = pair.operator
    ) AS condition
FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.confrelid
WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
    AND c.relname = 'trade_recon'
  AND k.contype = 'f' AND k.conparentid = 0 AND k.conrelid <> k.confrelid
ORDER BY 1, 2

-- name: list_gates
-- Foreign keys that restrict the account ids of trade_recon, to tables that we see: the condition
-- on an id a.account_id, and the reason if it fails.
SELECT
    format('EXISTS (SELECT FROM %s AS g WHERE g.%I OPERATOR(%I.%s) a.account_id)',
        k.confrelid::regclass, there.attname, o.oprnamespace::regnamespace, o.oprname) AS condition,
    format('the account is not in %s, which the foreign key %s of trade_recon refers to',
        k.confrelid::regclass, k.conname) AS reason
FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.conrelid
JOIN pg_attribute AS here ON here.attrelid = k.conrelid AND here.attnum = k.conkey[1]
JOIN pg_attribute AS there ON there.attrelid = k.confrelid AND there.attnum = k.confkey[1]
JOIN pg_operator AS o ON o.oid = k.conpfeqop[1]
WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
    AND c.relname = 'trade_recon'
  AND k.contype = 'f' AND cardinality(k.conkey) = 1 AND here.attname = 'account_id'
      AND k.confrelid <> k.conrelid
  AND has_table_privilege(k.confrelid, 'SELECT') AND NOT row_security_active(k.confrelid)
ORDER BY k.conname

-- name: add_entries
-- Add accounts of a query that satisfy the foreign keys.
INSERT INTO "prop_trading_model".trade_recon (account_id)
SELECT account_id FROM ({{source}}) AS a
WHERE {{gates}}
ON CONFLICT DO NOTHING

-- name: list_new_entries
-- Accounts of a query that trade_recon lacks, and the reason that keeps each out.
SELECT account_id, {{reasons}} AS reason FROM ({{source}}) AS a
WHERE NOT EXISTS (SELECT FROM "prop_trading_model".trade_recon AS t WHERE t.account_id = a.account_id)

-- name: add_some_entries
-- Add accounts $1.
INSERT INTO "prop_trading_model".trade_recon (account_id)
SELECT unnest($1::text[])
ON CONFLICT DO NOTHING

-- name: drop_some_entries
-- Delete entries $1 that are no accounts, unless claimed meanwhile.
DELETE FROM "prop_trading_model".trade_recon WHERE account_id = ANY($1::text[]) AND claimed_by IS NULL
