-- name: match_rows
-- Match rows of a fetch with stored rows, by account of the stored ones: number met in place,
-- number met under another date, ordinals that differ, and number unmatched (not for distributed
-- tables; see count_writable).
SELECT account_id, count(*) FILTER (WHERE NOT is_met) AS missing, count(*) FILTER (WHERE is_in_place) AS met,
       count(*) FILTER (WHERE is_met AND NOT is_in_place) AS elsewhere, array_agg(ordinal) FILTER (WHERE differs) AS differing
FROM (
    SELECT t.account_id::text AS account_id, s.ordinal, t.{{first_key}} IS NOT NULL AS is_met, {{is_in_place}} AS is_in_place,
           {{is_in_place}} AND {{differ}} AS differs
    FROM {{stage}} AS s
    {{join_stored}} {{raw}} AS t ON {{same_unit}} AND {{is_among_theirs}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}}
    OFFSET 0 -- compared before they are grouped: else all columns are sorted first
) AS met
GROUP BY account_id

-- name: get_natural_keys
-- Natural keys of staged trades.
SELECT platform::text AS platform, broker::text AS broker, login::text AS login
FROM (SELECT DISTINCT s.platform, s.broker, s.login FROM {{stage}} AS s WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}}) AS keys

-- name: count_writable
-- Number of writable rows.
SELECT count(*) FROM {{stage}} AS s WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}}
