-- Upstream may send logins as numbers, which have lost their leading zeros: the known login is found by what is left of it.

CREATE INDEX recon_identity_zeros ON prop_trading_model.recon_identity (ltrim(login, '0'), platform, broker) WHERE login LIKE '0%';
COMMENT ON INDEX prop_trading_model.recon_identity_zeros IS 'staging: get_known_logins';
