-- name: get_known_logins
-- Logins equal to numbers ($1) but for leading zeros: of the accounts ($4), and without account of
-- the numbers' platforms and brokers ($2, $3).
WITH sent AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS s (login, platform, broker, account_id)
), keys AS MATERIALIZED (
    SELECT DISTINCT login, platform, broker FROM sent
)
SELECT DISTINCT i.account_id, s.login, NULL AS platform, NULL AS broker, i.login AS known
FROM sent AS s
JOIN "prop_trading_model".recon_identity AS i ON i.account_id = s.account_id AND ltrim(i.login, '0') = ltrim(s.login, '0')
UNION ALL
SELECT NULL, k.login, k.platform, k.broker, k.login
FROM keys AS k
WHERE EXISTS (
    SELECT FROM "prop_trading_model".recon_identity AS i WHERE (i.login, i.platform, i.broker) = (k.login, k.platform, k.broker)
)
UNION ALL
SELECT DISTINCT NULL, k.login, k.platform, k.broker, i.login
FROM keys AS k
JOIN "prop_trading_model".recon_identity AS i
  ON i.login LIKE '0%' AND ltrim(i.login, '0') = ltrim(k.login, '0') AND (i.platform, i.broker) = (k.platform, k.broker) AND i.login <> k.login
