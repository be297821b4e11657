-- name: begin_descents
-- Record dates whose daily rows an audit changed: this run or the next reads their finer rows.
INSERT INTO prop_trading_model.recon_descents (account_id, date)
SELECT * FROM unnest($1::text[], $2::date[])
ON CONFLICT DO NOTHING

-- name: end_descents
-- Remove dates whose finer rows were read.
DELETE FROM prop_trading_model.recon_descents AS d
USING unnest($1::text[], $2::date[]) AS done (account_id, date)
WHERE d.account_id = done.account_id AND d.date = done.date
