-- name: note_doubts
-- Settled dates on which upstream's word lowered figures: audits read them again, since upstream may be sick.
INSERT INTO "prop_trading_model".recon_doubted_dates (account_id, date)
SELECT * FROM unnest($1::text[], $2::date[])
ON CONFLICT (account_id, date) DO UPDATE SET noted_at = excluded.noted_at
