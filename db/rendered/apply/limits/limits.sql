-- name: note_doubts
-- Record settled dates lowered on upstream's word, for audits to read again.
INSERT INTO "prop_trading_model".recon_doubted_dates (account_id, date)
SELECT * FROM unnest($1::text[], $2::date[])
ON CONFLICT (account_id, date) DO UPDATE SET noted_at = excluded.noted_at
