-- name: reject_too_narrow
-- Reject rows excluded by a unique key narrower than upstream's ({{narrow}}): beside another row of
-- upstream (the stored or else the first one stays), or beside a stored row that upstream does not
-- send here. The conflicting row is returned.
WITH mine AS MATERIALIZED (
    SELECT s.ordinal, s.account_id, {{s_narrow}}, {{key_text}} AS key, {{is_stored}} AS stored
    FROM {{stage}} AS s
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND {{narrow_filled}}
), ranked AS MATERIALIZED (
    SELECT *, first_value(key) OVER sharers AS first_key, first_value(account_id) OVER sharers AS first_account, row_number() OVER sharers AS place
    FROM mine
    WINDOW sharers AS (PARTITION BY {{narrow}} ORDER BY stored DESC, ordinal)
), beside AS (
    SELECT ordinal, first_key AS other_key, first_account::text AS other_account, true AS is_sent FROM ranked WHERE place > 1 AND NOT stored
    UNION ALL
    SELECT r.ordinal, {{t_key_text}}, t.account_id::text, false
    FROM ranked AS r
    JOIN {{raw}} AS t ON {{same_narrow}}
    WHERE r.place = 1 AND NOT r.stored
), told AS MATERIALIZED (
    -- Before the update: beside distributed tables it must not call functions that are not
    -- immutable.
    SELECT s.ordinal, b.other_key, b.other_account, to_json(s) AS source,
           CASE WHEN b.is_sent THEN format('%s %s of account %s too, and the unique key %s takes one of them', $5::text, b.other_key, b.holder, $6::text)
                ELSE format('%s: the unique key %s is taken by %s of account %s', $4::text, $6::text, b.other_key, b.holder) END AS reason
    FROM (SELECT DISTINCT ON (ordinal) *, coalesce(other_account, 'unknown') AS holder FROM beside ORDER BY ordinal) AS b
    JOIN {{stage}} AS s ON s.fetch_id = $1 AND s.ordinal = b.ordinal
)
UPDATE {{stage}} AS s SET refused = m.reason, source = m.source
FROM told AS m
WHERE s.fetch_id = $1 AND s.ordinal = m.ordinal
RETURNING s.ordinal, m.other_key, m.other_account
