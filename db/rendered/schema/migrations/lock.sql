-- name: forget_own_tablespace
-- For the transaction, the database's own tablespace is no default: no partitioned table can be
-- made where a default names it, and it means the same as none.
SELECT set_config('default_tablespace', '', true)
FROM pg_database AS d JOIN pg_tablespace AS t ON t.oid = d.dattablespace
WHERE d.datname = current_database() AND t.spcname = current_setting('default_tablespace')
