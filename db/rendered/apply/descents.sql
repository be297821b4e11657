-- name: begin_descents
-- Dates whose daily rows an audit's heal changed: their finer rows are to be read, in this run or, if it breaks off, in the next.
INSERT INTO "prop_trading_model".recon_descents (account_id, date)
SELECT * FROM unnest($1::text[], $2::date[])
ON CONFLICT DO NOTHING

-- name: end_descents
-- Dates whose finer rows were read.
DELETE FROM "prop_trading_model".recon_descents AS d
USING unnest($1::text[], $2::date[]) AS done (account_id, date)
WHERE d.account_id = done.account_id AND d.date = done.date
