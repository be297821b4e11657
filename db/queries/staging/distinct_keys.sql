-- name: count_distinct_keys
-- Distinct keys of a fetch ($1) after an ordinal ($2). A repeated row, with or without a key, hides
-- a missing one; rejected rows compare as sent.
SELECT count(DISTINCT ({{key}})) FILTER (WHERE {{has_whole_key}}) + count(DISTINCT source::text) FILTER (WHERE NOT ({{has_whole_key}}))
FROM {{stage}}
WHERE fetch_id = $1 AND ordinal > $2

-- name: tally_keys
-- Distinct keys of a fetch ($1), by account and by date.
SELECT {{sets}}, count(*) AS keys
FROM (SELECT DISTINCT {{key_and_day}} FROM {{stage}} WHERE fetch_id = $1 AND refused IS NULL AND {{has_whole_key}}) AS keys
GROUP BY GROUPING SETS ({{grouping_sets}})
