-- name: is_staged
-- Whether the first row of a fetch is still staged.
SELECT EXISTS (SELECT FROM {{stage}} WHERE fetch_id = $1 AND ordinal = 1)
