-- name: get_fingerprints
-- What the slices of {{raw}} look like now: any insert, update or delete by someone else changes the count or the sum.
SELECT account_id, sum(rows)::bigint AS rows, sum(versions)::bigint AS versions
FROM (
    SELECT account_id::text, count(*) AS rows, sum(t.xmin::text::bigint) AS versions
    FROM {{raw}} AS t
    WHERE account_id = ANY($1::text[]) AND {{in_slice_second}}
    GROUP BY account_id
    {{without_id}}
) AS parts
GROUP BY account_id

-- name: get_fingerprints_without_id
-- For trades: those without an id count for each account that ever had their natural key, since ingestion fills the id later.
UNION ALL
SELECT i.account_id, count(*), sum(t.xmin::text::bigint)
FROM prop_trading_model.recon_identity AS i
JOIN {{raw}} AS t ON t.account_id IS NULL AND t.login::text = i.login AND t.platform::text = i.platform AND coalesce(t.broker::text, '') = i.broker
WHERE i.account_id = ANY($1::text[]) AND {{in_slice_second}}
GROUP BY i.account_id

-- name: holds_first
-- Whether the first row of a fetch is still staged.
SELECT EXISTS (SELECT FROM {{stage}} WHERE fetch_id = $1 AND ordinal = 1)

-- name: get_horizon
-- Whatever is committed from now on has this transaction id or a higher one.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint

-- name: resolve_staged_trades
-- Give staged trades the one account that held their natural key on their date; asked once for each key and date, not for each trade.
-- How many each account was given by this.
WITH held AS MATERIALIZED (
    SELECT k.login, k.platform, k.broker, k.trade_date, (
        SELECT min(i.account_id)
        FROM prop_trading_model.recon_identity AS i
        WHERE i.login = k.login AND i.platform = k.platform AND i.broker = k.broker
          AND (k.trade_date BETWEEN i.valid_from AND i.valid_to OR k.trade_date >= i.open_from)
        HAVING count(DISTINCT i.account_id) = 1
    ) AS account_id
    FROM (
        SELECT DISTINCT login::text AS login, platform::text AS platform, coalesce(broker::text, '') AS broker, trade_date
        FROM {{stage}}
        WHERE fetch_id = $1 AND refused IS NULL
    ) AS k
), given AS (
    UPDATE {{stage}} AS s SET account_id = held.account_id
    FROM held
    WHERE s.fetch_id = $1 AND s.refused IS NULL
      AND held.login = s.login::text AND held.platform = s.platform::text AND held.broker = coalesce(s.broker::text, '') AND held.trade_date = s.trade_date
      AND s.account_id IS DISTINCT FROM held.account_id
    RETURNING s.account_id
)
SELECT account_id, count(*) AS rows FROM given GROUP BY account_id

-- name: get_strangers
-- Accounts of $2 under whose logins upstream sends trades with a natural key that no account has, and how many.
SELECT owner.account_id, count(*) AS rows, min(concat_ws('/', s.login, s.platform, s.broker)) AS natural_key
FROM {{stage}} AS s
JOIN unnest($2::text[], $3::text[]) AS owner (account_id, login) ON owner.login = s.login::text
WHERE s.fetch_id = $1 AND s.refused IS NULL AND s.account_id IS NULL
  AND NOT EXISTS (
      SELECT FROM prop_trading_model.recon_identity AS i
      WHERE i.login = s.login::text AND i.platform = s.platform::text AND i.broker = coalesce(s.broker::text, '')
  )
GROUP BY owner.account_id

-- name: refuse_doubled_rows
-- Rows of upstream that share a key of {{raw}}: the table cannot hold them side by side.
UPDATE {{stage}} AS s SET refused = $2, source = to_json(s)
FROM (SELECT {{plain_key}} FROM {{stage}} WHERE fetch_id = $1 AND refused IS NULL GROUP BY {{plain_key}} HAVING count(*) > 1) AS d
WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{same_doubled}}

-- name: has_pins
-- Whether rows of the table $1 are pinned.
SELECT EXISTS (SELECT FROM prop_trading_model.recon_pins WHERE table_name = $1)

-- name: release_equal_pins
-- Pinned rows of the table $2 for which upstream says now what is stored, under the same date: they need no pin any more, if no double of them is pinned.
WITH equal AS MATERIALIZED (
    SELECT {{unit_of_s}} AS row_key
    FROM {{stage}} AS s
    JOIN prop_trading_model.recon_pins AS p ON p.table_name = $2 AND p.row_key = {{unit_of_s}}
    JOIN {{raw}} AS t ON {{same_key_s}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND p.date IS NOT DISTINCT FROM {{day_of_s}} AND p.doubled_dates <@ ARRAY[{{day_of_s}}] AND NOT {{differ}}
)
DELETE FROM prop_trading_model.recon_pins AS p USING equal AS e WHERE p.table_name = $2 AND p.row_key = e.row_key

-- name: refuse_pinned
-- Rows of upstream that meet a pinned row of the table $2, on whatever date: nothing of them is written. Another date than the pinned row has is noted.
WITH met AS (
    UPDATE {{stage}} AS s SET refused = {{pinned}}
    FROM prop_trading_model.recon_pins AS p
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND p.table_name = $2 AND p.row_key = {{unit_of_s}}
    RETURNING p.row_key, {{day_of_s}} AS day
)
UPDATE prop_trading_model.recon_pins AS p SET upstream_date = met.day
FROM met
WHERE p.table_name = $2 AND p.row_key = met.row_key AND met.day IS DISTINCT FROM coalesce(p.upstream_date, p.date)

-- name: get_staged_days
-- The dates that staged rows have.
SELECT DISTINCT {{date}} AS day FROM {{stage}} WHERE fetch_id = $1 AND refused IS NULL AND {{date}} IS NOT NULL

-- name: get_partition_gaps
-- Those of the days that no partition of the table takes, each with the stretch of its month that none takes.
SELECT day, gap_from, gap_to FROM prop_trading_model.recon_partition_gaps($1, $2::date[])

-- name: get_partition_years
-- The first and the last year of which the table has partitions.
SELECT first_year, last_year FROM prop_trading_model.recon_partition_years($1)

-- name: get_partition_state
-- Whether a table has the name ($1) that a partition would have, and from which date on tables ($2) have partitions.
SELECT to_regclass($1) IS NOT NULL AS is_there, prop_trading_model.recon_held_from($2::text[]) AS held_from

-- name: get_first_trade_year
-- The year of the first trade that alltime tells: it reads all of alltime, and is asked for only where years before the partitions are sent.
SELECT extract(year FROM min({{first_trade}}))::integer FROM {{alltime}} WHERE {{first_trade}} BETWEEN '1990-01-01' AND '2199-12-31'

-- name: refuse_days
-- Rows of days that have no partition.
UPDATE {{stage}} AS s SET refused = $3 WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{date}} = ANY($2::date[])

-- name: count_rows
-- How many rows the raw tables hold of accounts, all tables together.
SELECT account_id, sum(rows)::bigint AS rows
FROM (
    SELECT account_id::text, count(*) AS rows FROM {{alltime}} WHERE account_id = ANY($1::text[]) GROUP BY account_id
    UNION ALL SELECT account_id::text, count(*) FROM {{daily}} WHERE account_id = ANY($1::text[]){{since_date}} GROUP BY account_id
    UNION ALL SELECT account_id::text, count(*) FROM {{hourly}} WHERE account_id = ANY($1::text[]){{since_date}} GROUP BY account_id
    UNION ALL SELECT account_id::text, count(*) FROM {{closed}} WHERE account_id = ANY($1::text[]){{since_trade_date}} GROUP BY account_id
    UNION ALL SELECT account_id::text, count(*) FROM {{open}} WHERE account_id = ANY($1::text[]) GROUP BY account_id
) AS counted
GROUP BY account_id

-- name: count_trades
-- How many trades {{raw}} counts for accounts.
SELECT w.account_id, coalesce(c.trades, 0){{less_history_of_w}} AS trades
FROM unnest($1::text[]) AS w (account_id)
LEFT JOIN (
    SELECT account_id::text, sum({{row_trades}})::bigint AS trades FROM {{raw}} AS t WHERE account_id = ANY($1::text[]){{since}} GROUP BY account_id
) AS c ON c.account_id = w.account_id

-- name: count_sent
-- How many rows a fetch ($1) brought of accounts ($2), and how many trades these count; trades are null where one of them has a count that is none.
SELECT w.account_id, w.rows, w.trades{{less_history_of_w}} AS trades
FROM (
    SELECT account_id, count(*) AS rows, {{sent_trades}} AS trades FROM {{stage}} WHERE fetch_id = $1 AND account_id = ANY($2::text[]) GROUP BY account_id
) AS w

-- name: count_moving_trades
-- How many trades each table below alltime counts for accounts ($1) on dates that still move (from $2 on).
SELECT account_id, sum(daily)::bigint AS daily, sum(hourly)::bigint AS hourly, sum(closed)::bigint AS closed
FROM (
    SELECT account_id::text AS account_id, prop_trading_model.recon_count(num_trades)::bigint AS daily, 0::bigint AS hourly, 0::bigint AS closed
    FROM {{daily}} WHERE account_id = ANY($1::text[]) AND date BETWEEN $2::date AND '9999-12-31'
    UNION ALL
    SELECT account_id::text, 0, prop_trading_model.recon_count(num_trades)::bigint, 0 FROM {{hourly}} WHERE account_id = ANY($1::text[]) AND date BETWEEN $2::date AND '9999-12-31'
    UNION ALL
    SELECT account_id::text, 0, 0, 1 FROM {{closed}} WHERE account_id = ANY($1::text[]) AND trade_date BETWEEN $2::date AND '9999-12-31'
) AS rows
GROUP BY account_id

-- name: judge_lost_days_of_daily
-- Dates ($1, $2) on which daily was lowered, not those from $3 on, and what hourly rows and closed trades count there: whether one of them counts more than daily
-- does now (then upstream lowers the account), whether none does (then daily alone had counted too much), and whether one does not.
SELECT lost.account_id, lost.day, finer.most > daily.trades AS is_lowered, finer.most <= daily.trades AS is_damage, finer.least <= daily.trades AS is_shared
FROM unnest($1::text[], $2::date[]) AS lost (account_id, day)
JOIN (
    SELECT account_id::text AS account_id, date AS day, sum(prop_trading_model.recon_count(num_trades))::bigint AS trades FROM {{daily}}
    WHERE account_id = ANY($1::text[]) AND date = ANY($2::date[])
    GROUP BY account_id, date
) AS daily ON daily.account_id = lost.account_id AND daily.day = lost.day
JOIN (
    SELECT account_id, day, max(trades) AS most, min(trades) AS least
    FROM (
        SELECT account_id::text AS account_id, date AS day, sum(prop_trading_model.recon_count(num_trades))::bigint AS trades FROM {{hourly}}
        WHERE account_id = ANY($1::text[]) AND date = ANY($2::date[])
        GROUP BY account_id, date
        UNION ALL
        SELECT account_id::text, trade_date, count(*) FROM {{closed}}
        WHERE account_id = ANY($1::text[]) AND trade_date = ANY($2::date[])
        GROUP BY account_id, trade_date
    ) AS sides
    GROUP BY account_id, day
) AS finer ON finer.account_id = lost.account_id AND finer.day = lost.day
WHERE $3::date IS NULL OR lost.day < $3::date

-- name: judge_lost_days_of_finer
-- Dates ($1, $2) on which the table $4 of hourly rows or closed trades lost rows or counts, not those from $3 on, each with what the others count there, and what
-- they count in all (`life`): whether it counts fewer trades than daily now, and whether it counts no fewer than another table of which we took nothing there since
-- the account was whole: then it had too much. Of daily, no row is a count of 0.
WITH sides AS MATERIALIZED (
    SELECT 'raw_metrics_daily' AS name, account_id::text AS account_id, date AS day, sum(prop_trading_model.recon_count(num_trades))::bigint AS trades FROM {{daily}}
    WHERE account_id = ANY($1::text[]) AND date BETWEEN {{first_day}} AND '9999-12-31'
    GROUP BY account_id, date
    UNION ALL
    SELECT 'raw_metrics_hourly', account_id::text, date, sum(prop_trading_model.recon_count(num_trades))::bigint FROM {{hourly}}
    WHERE account_id = ANY($1::text[]) AND date BETWEEN {{first_day}} AND '9999-12-31'
    GROUP BY account_id, date
    UNION ALL
    SELECT 'raw_trades_closed', account_id::text, trade_date, count(*) FROM {{closed}}
    WHERE account_id = ANY($1::text[]) AND trade_date BETWEEN {{first_day}} AND '9999-12-31'
    GROUP BY account_id, trade_date
), lives AS (
    SELECT account_id, name, sum(trades)::bigint AS trades FROM sides WHERE name <> $4 GROUP BY account_id, name
)
SELECT lost.account_id, lost.day, life.name, life.trades AS life,
       life.name = 'raw_metrics_daily' AND coalesce(own.trades < other.trades, false) AS is_lowered,
       (life.name = 'raw_metrics_daily' OR other.trades IS NOT NULL) AND coalesce(own.trades, 0) >= coalesce(other.trades, 0)
           AND NOT EXISTS (
               SELECT FROM prop_trading_model.recon_removed_rows AS c
               JOIN prop_trading_model.trade_recon AS w ON w.account_id = c.account_id
               WHERE c.account_id = lost.account_id AND c.table_name = life.name AND c.date = lost.day
                 AND c.removed_id > w.whole_copy AND c.run_id IS NOT NULL AND c.restored_at IS NULL
           ) AS is_damage
FROM unnest($1::text[], $2::date[]) AS lost (account_id, day)
JOIN lives AS life ON life.account_id = lost.account_id
LEFT JOIN sides AS other ON other.account_id = lost.account_id AND other.day = lost.day AND other.name = life.name
LEFT JOIN sides AS own ON own.account_id = lost.account_id AND own.day = lost.day AND own.name = $4
WHERE $3::date IS NULL OR lost.day < $3::date

-- name: note_losses
-- What a run ($1) takes from accounts ($3: rows $4, and whether upstream lowers them, $5, or only too many rows would be rewritten, $6), counted by
-- the process $2 that writes or holds them.
INSERT INTO prop_trading_model.recon_run_losses AS l (run_id, account_id, worker_id, rows, lowers, rewrites)
SELECT $1, noted.account_id, $2, noted.rows, noted.lowers, noted.rewrites
FROM unnest($3::text[], $4::bigint[], $5::boolean[], $6::boolean[]) AS noted (account_id, rows, lowers, rewrites)
ON CONFLICT (run_id, account_id) DO UPDATE SET
    worker_id = excluded.worker_id, rows = l.rows + excluded.rows, lowers = l.lowers OR excluded.lowers,
    rewrites = (l.lowers OR excluded.lowers) AND (l.rewrites OR NOT l.lowers) AND (excluded.rewrites OR NOT excluded.lowers)

-- name: lock_losses
-- One process after the other counts what run $1 takes: until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('trade-recon losses prop_trading_model'), hashtext($1))

-- name: release_losses
-- Rows ($3) of accounts ($2) that a run ($1) counted and does not take after all; that upstream lowers them stays true.
UPDATE prop_trading_model.recon_run_losses AS l
SET rows = l.rows - less.rows
FROM unnest($2::text[], $3::bigint[]) AS less (account_id, rows)
WHERE l.run_id = $1 AND l.account_id = less.account_id

-- name: has_other_workers
-- Whether processes beside $1 gave a sign of life within $2 seconds.
SELECT EXISTS (SELECT FROM prop_trading_model.recon_workers WHERE worker_id <> $1 AND heartbeat_at > now() - make_interval(secs => $2))

-- name: get_losses_elsewhere
-- What other processes than $2 counted for a run: accounts that upstream lowers, or of which too many rows would be rewritten, and rows that they lose.
SELECT count(*) FILTER (WHERE lowers) AS lowered, count(*) FILTER (WHERE lowers AND rewrites) AS rewritten, coalesce(sum(rows), 0)::bigint AS lost
FROM prop_trading_model.recon_run_losses
WHERE run_id = $1 AND worker_id <> $2

-- name: count_staged
-- How many staged rows each account has.
SELECT account_id, count(*) AS rows FROM {{stage}} WHERE fetch_id = $1 AND account_id IS NOT NULL GROUP BY account_id

-- name: count_staged_days
-- How many staged rows an account has on each date.
SELECT {{date}} AS day, count(*) AS rows FROM {{stage}} WHERE fetch_id = $1 AND account_id = $2 AND {{date}} IS NOT NULL GROUP BY 1 ORDER BY 1

-- name: create_partitions
-- Make the monthly partitions that a heal needs.
SELECT prop_trading_model.recon_create_partitions($1, $2::date[])

-- name: withhold_falling_rows
-- Rows of upstream on dates that still move (from $4 on) that would lower the count of a stored row: nothing of them is written ($5 says why).
WITH falling AS MATERIALIZED (
    SELECT s.ordinal, s.account_id, {{day_of_t}} AS day
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_key_s}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND {{count_is_sent}}
      AND {{day_of_t}} >= $4::date AND coalesce(s.num_trades, 0) < coalesce(t.num_trades, 0)
), withheld AS (
    UPDATE {{stage}} AS s SET refused = $5 FROM (SELECT DISTINCT ordinal FROM falling) AS f WHERE s.fetch_id = $1 AND s.ordinal = f.ordinal
)
SELECT account_id, array_agg(DISTINCT day) AS days FROM falling GROUP BY account_id

-- name: withhold_moves
-- Trades that upstream has under another date than we, where ours still moves (from $4 on): neither moved nor stored a second time ($5 says why).
-- A date that no calendar holds does not move: its trades go to where upstream has them.
WITH known AS MATERIALIZED (
    SELECT s.ordinal, coalesce(s.account_id, t.account_id) AS account_id, s.{{date}} AS new_date, t.{{date}} AS old_date
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_unit}} AND t.{{date}} <> s.{{date}}{{t_since}}
    LEFT JOIN (SELECT * FROM {{stage}} WHERE fetch_id = $1) AS also ON {{also_key}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND also.{{first_key}} IS NULL
      AND t.{{date}} BETWEEN $4::date AND date '9999-12-31'
), withheld AS (
    UPDATE {{stage}} AS s SET refused = $5 FROM (SELECT DISTINCT ordinal FROM known) AS k WHERE s.fetch_id = $1 AND s.ordinal = k.ordinal
)
SELECT account_id, array_agg(DISTINCT old_date) || array_agg(DISTINCT new_date) AS days FROM known GROUP BY account_id

-- name: get_falling_alltime
-- Rows of upstream's alltime that would lower the stored count.
SELECT s.ordinal, s.account_id, coalesce(s.num_trades, 0)::bigint{{less_history_of_s}} AS trades
FROM {{stage}} AS s
JOIN {{raw}} AS t ON {{same_key_s}}
WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND {{count_is_sent}} AND coalesce(s.num_trades, 0) < coalesce(t.num_trades, 0)

-- name: get_stored_levels
-- What is counted of accounts ($1) below alltime: by daily, and on dates that still move ($2 to $3) by the level that counts most, by daily, and
-- by the level below daily that counts most.
SELECT account_id, sum(daily)::bigint AS daily, coalesce(sum(greatest(daily, hourly, closed)) FILTER (WHERE day BETWEEN $2::date AND $3::date), 0)::bigint AS moving,
       coalesce(sum(daily) FILTER (WHERE day BETWEEN $2::date AND $3::date), 0)::bigint AS moving_daily,
       coalesce(sum(greatest(hourly, closed)) FILTER (WHERE day BETWEEN $2::date AND $3::date), 0)::bigint AS moving_finer
FROM (
    SELECT account_id, day, sum(daily) AS daily, sum(hourly) AS hourly, sum(closed) AS closed
    FROM (
        SELECT account_id::text AS account_id, date AS day, prop_trading_model.recon_count(num_trades)::bigint AS daily, 0::bigint AS hourly, 0::bigint AS closed
        FROM {{daily}} WHERE account_id = ANY($1::text[]) AND date BETWEEN {{first_day}} AND '9999-12-31'
        UNION ALL
        SELECT account_id::text, date, 0, prop_trading_model.recon_count(num_trades)::bigint, 0 FROM {{hourly}} WHERE account_id = ANY($1::text[]) AND date BETWEEN $2::date AND $3::date
        UNION ALL
        SELECT account_id::text, trade_date, 0, 0, 1 FROM {{closed}} WHERE account_id = ANY($1::text[]) AND trade_date BETWEEN $2::date AND $3::date
    ) AS rows
    GROUP BY account_id, day
) AS days
GROUP BY account_id

-- name: get_moving_figures
-- What upstream's daily rows of a fetch count on dates that still move ($2 to $3).
SELECT account_id, date AS day, sum(prop_trading_model.recon_count(num_trades))::bigint AS trades
FROM {{stage}}
WHERE fetch_id = $1 AND account_id IS NOT NULL AND date BETWEEN $2::date AND $3::date
GROUP BY account_id, date
-- What is no count tells nothing.
HAVING NOT coalesce(bool_or('num_trades (no count)' = ANY(nulled)), false)

-- name: get_written_elsewhere
-- Staged trades that are stored under another date by rows which somebody wrote since the fetch began ($4): what those say is newer than the fetch.
SELECT s.account_id, array_agg(DISTINCT s.ordinal) AS ordinals
FROM {{stage}} AS s
JOIN {{raw}} AS t ON {{same_unit}} AND t.{{date}} <> s.{{date}}{{t_since}}
LEFT JOIN (SELECT * FROM {{stage}} WHERE fetch_id = $1) AS also ON {{also_key}}
WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND also.{{first_key}} IS NULL AND {{is_newer}}
GROUP BY s.account_id

-- name: move_trades
-- Trades that upstream has under another date than we: moved there, or removed as doubles where we have them under both, or under two others.
WITH known AS MATERIALIZED (
    SELECT {{t_key}}{{place}}, s.ordinal, s.{{date}} AS new_date, coalesce(s.account_id, t.account_id) AS owner, to_jsonb(t) AS old_row
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_unit}} AND t.{{date}} <> s.{{date}}{{t_since}}
    LEFT JOIN (SELECT * FROM {{stage}} WHERE fetch_id = $1) AS also ON {{also_key}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND also.{{first_key}} IS NULL
    ORDER BY {{t_key}}
    {{locked_to_go}}
), there AS MATERIALIZED (
    SELECT DISTINCT s.ordinal
    FROM (SELECT DISTINCT ordinal FROM known) AS k
    JOIN {{stage}} AS s ON s.fetch_id = $1 AND s.ordinal = k.ordinal
    JOIN {{raw}} AS t ON {{same_key_s}}
), judged AS (
    SELECT *, ordinal IN (SELECT ordinal FROM there) OR row_number() OVER (PARTITION BY ordinal ORDER BY {{plain_date}}) > 1 AS doubled FROM known
), removed AS (
    DELETE FROM {{raw}} AS t USING judged AS m
    WHERE {{same_row}} AND m.doubled
    RETURNING m.owner, m.{{plain_date}} AS old_date, NULL::date AS new_date, m.new_date AS right_date, m.old_row
), moved AS (
    UPDATE {{raw}} AS t SET {{plain_date}} = m.new_date FROM judged AS m
    WHERE {{same_row}} AND NOT m.doubled
    RETURNING m.owner, m.{{plain_date}} AS old_date, m.new_date, NULL::date AS right_date, m.old_row
), gone AS (
    SELECT * FROM removed UNION ALL SELECT * FROM moved
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, right_date, row_data)
    SELECT $4, owner, $5, old_date, CASE WHEN right_date IS NULL THEN 'moved' ELSE 'removed' END, right_date, old_row FROM gone
)
SELECT owner AS account_id, count(*) AS rows, count(right_date) AS doubles, array_agg(DISTINCT old_date) || array_agg(DISTINCT new_date) FILTER (WHERE new_date IS NOT NULL) AS days
FROM gone
GROUP BY owner

-- name: remove_doubled_rows
-- Rows that are stored more than once, in a table without a unique key: one stays, a copy of each other is kept. On dates that still move
-- (from $7 on) all stay, and so does one under an id that is none of these accounts' if somebody may have written it since the fetch began ($6).
WITH stored AS MATERIALIZED (
    SELECT {{t_key}}{{place}}, coalesce(t.account_id, s.account_id) AS owner, to_jsonb(t) AS old_row,
           row_number() OVER (PARTITION BY s.ordinal ORDER BY t.account_id IS DISTINCT FROM s.account_id, {{place_order}}) AS copy
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_key_s}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND ({{is_theirs}} OR {{is_old}})
), removed AS (
    DELETE FROM {{raw}} AS t USING stored AS m
    WHERE {{same_row}} AND m.copy > 1 AND coalesce({{day_of_m}} < $7::date, true)
    RETURNING m.owner, {{day_of_m}} AS day, m.old_row
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT $4, owner, $5, day, 'removed', old_row FROM removed
)
SELECT owner AS account_id, true AS goes, count(*) AS rows, array_agg(DISTINCT day) AS days FROM removed GROUP BY owner
UNION ALL
SELECT m.owner, false, count(*), array_agg(DISTINCT {{day_of_m}}) FROM stored AS m WHERE m.copy > 1 AND {{day_of_m}} >= $7::date GROUP BY m.owner

-- name: move_shards
-- Rows that upstream has under another {{shard}} than we, in a table that is distributed by it: each is taken out and stored again in its new shard.
WITH known AS MATERIALIZED (
    SELECT {{t_key}}{{place}}, s.{{shard}} AS new_shard, t.account_id AS owner, {{day_of_t}} AS day, to_jsonb(t) AS old_row
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_key_s}} AND t.{{shard}} <> s.{{shard}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND ({{is_theirs}} OR {{is_old}})
), removed AS (
    DELETE FROM {{raw}} AS t USING known AS m WHERE {{same_row}} RETURNING m.owner, m.day, m.new_shard, m.old_row
), stored AS (
    INSERT INTO {{raw}} ({{all_columns}})
    SELECT {{r_columns}}
    FROM removed AS m
    CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, m.old_row || jsonb_build_object($7::text, m.new_shard)) AS r
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT $4, owner, $5, day, 'moved', old_row FROM removed
)
SELECT owner AS account_id, count(*) AS rows, array_agg(DISTINCT day) AS days FROM removed GROUP BY owner

-- name: refuse_too_narrow
-- Rows that a unique key of the table which is narrower than upstream's ({{narrow}}) cannot hold: beside another row of upstream, the stored one
-- or else the first, or beside a stored row that upstream does not send here. The row that is there stays, and both are named.
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
    -- Before the update and not in it: beside a distributed table none may call functions that are not immutable.
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

-- name: get_violated_index
-- The unique index of a name ($4) at a table ($2, $3), if that is {{raw}} ($1), one of its partitions or a child of it; whether it is one on plain columns for
-- all rows, its columns, and how it is defined.
WITH RECURSIVE family AS (
    SELECT to_regclass($1)::oid AS relid
    UNION
    SELECT i.inhrelid FROM family AS f JOIN pg_inherits AS i ON i.inhparent = f.relid
)
SELECT i.indpred IS NULL AND i.indexprs IS NULL AS is_plain, substring(pg_get_indexdef(i.indexrelid) FROM 'USING .*') AS definition,
       ARRAY(
           SELECT a.attname::text
           FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
           JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
           WHERE k.place <= i.indnkeyatts
           ORDER BY k.place
       ) AS columns
FROM family AS f
JOIN pg_index AS i ON i.indrelid = f.relid AND i.indisunique
JOIN pg_class AS x ON x.oid = i.indexrelid AND x.relname = $4
JOIN pg_class AS t ON t.oid = f.relid AND t.relname = $3
JOIN pg_namespace AS n ON n.oid = t.relnamespace AND n.nspname = $2

-- name: refuse_moves
-- Trades that cannot be moved to the date that upstream has: not brought in under it either, or they would stand twice.
WITH found AS MATERIALIZED (
    SELECT DISTINCT s.ordinal
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_unit}} AND t.{{date}} <> s.{{date}}{{t_since}}
    LEFT JOIN (SELECT * FROM {{stage}} WHERE fetch_id = $1) AS also ON {{also_key}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND also.{{first_key}} IS NULL
), told AS MATERIALIZED (
    SELECT s.ordinal, to_json(s) AS source FROM found AS f JOIN {{stage}} AS s ON s.fetch_id = $1 AND s.ordinal = f.ordinal
)
UPDATE {{stage}} AS s SET refused = $4, source = m.source
FROM told AS m
WHERE s.fetch_id = $1 AND s.ordinal = m.ordinal

-- name: refuse_unfit_rows
-- Rows that a CHECK or NOT NULL of the table refuses, as far as the columns were sent.
UPDATE {{stage}} SET refused = $2, source = to_json({{stage_name}}) WHERE fetch_id = $1 AND refused IS NULL AND {{are_sent}} AND NOT ({{condition}})

-- name: get_natural_keys
-- The natural keys of staged trades.
SELECT platform::text AS platform, broker::text AS broker, login::text AS login
FROM (SELECT DISTINCT s.platform, s.broker, s.login FROM {{stage}} AS s WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}}) AS keys

-- name: compare_rows
-- How the rows of a fetch meet those that are stored, by account of the stored ones: how many meet one in its place, how many one under another date,
-- and the ordinals of those that differ; and how many meet none, but of a distributed table (count_writable tells how many there are).
SELECT account_id, count(*) FILTER (WHERE NOT is_met) AS missing, count(*) FILTER (WHERE is_in_place) AS met,
       count(*) FILTER (WHERE is_met AND NOT is_in_place) AS elsewhere, array_agg(ordinal) FILTER (WHERE differs) AS differing
FROM (
    SELECT t.account_id::text AS account_id, s.ordinal, t.{{first_key}} IS NOT NULL AS is_met, {{is_in_place}} AS is_in_place,
           {{is_in_place}} AND {{differ}} AS differs
    FROM {{stage}} AS s
    {{met_or_not}} {{raw}} AS t ON {{same_wherever}} AND {{is_among_theirs}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}}
    OFFSET 0 -- compared before they are grouped: else all columns are sorted first
) AS met
GROUP BY account_id

-- name: overwrite_rows
-- Stored rows that differ from upstream in a field that it sent: a copy kept, then only those written, in key order. {{only}} limits them to some ordinals.
-- A trade under an id that is none of these accounts' ($2) is only taken if nobody can have written it since the fetch began ($6). Last those that a
-- trigger of the table kept as they were.
WITH changed AS MATERIALIZED (
    SELECT {{t_key}}{{place}}, s.ordinal, to_jsonb(t) AS old_row, {{figures_differ}} AS figures, {{loses}} AS loses, {{falls}} AS falls, {{blanks}} AS blanks, {{gains}} AS gains,
           {{new_values}}
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_key_s}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND {{only}}
      AND {{differ}}
      AND ({{is_theirs}} OR {{is_old}})
    ORDER BY {{t_key}}
    {{locked_to_change}}
), written AS (
    UPDATE {{raw}} AS t SET {{assignments}}
    FROM changed AS m
    WHERE {{same_row}}
    RETURNING m.ordinal, t.account_id, nullif(m.old_row ->> 'account_id', t.account_id) AS holder, {{day_of_t}} AS day, m.figures, m.loses, m.falls, m.blanks, m.gains, m.old_row
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT $4, old_row ->> 'account_id', $5, day, 'overwritten', old_row FROM written
)
SELECT account_id, holder, count(*) AS rows, array_agg(DISTINCT day) AS days, array_agg(DISTINCT day) FILTER (WHERE figures) AS figure_days,
       count(*) FILTER (WHERE loses) AS lost, array_agg(DISTINCT day) FILTER (WHERE loses) AS lost_days, array_agg(day) FILTER (WHERE falls) AS fallen_days, bool_or(blanks) AS blanks, count(*) FILTER (WHERE gains AND NOT loses) AS gained, NULL::bigint[] AS resisting
FROM written
GROUP BY account_id, holder
UNION ALL
-- By EXCEPT, which hashes: of what a statement makes itself PostgreSQL expects one row, and would loop over all pairs.
SELECT NULL, NULL, 0, NULL, NULL, 0, NULL, NULL, false, 0, array_agg(ordinal) FROM (SELECT ordinal FROM changed EXCEPT SELECT ordinal FROM written) AS kept HAVING count(*) > 0

-- name: get_missing_rows
-- Rows of upstream that are not stored. {{only}} limits them to some ordinals.
SELECT s.ordinal, s.account_id, {{day_of_s}} AS day
FROM {{stage}} AS s
WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND {{only}} AND NOT {{is_stored}}

-- name: get_changed_rows
-- Rows of upstream that are stored with other values than they were written with, by the columns, and whether these are figures by which accounts are judged.
SELECT columns, figures, array_agg(ordinal ORDER BY ordinal) AS ordinals
FROM (
    SELECT DISTINCT ON (s.ordinal) s.ordinal, {{figures_differ}} AS figures, {{changed_columns}} AS columns
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_key_s}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND {{is_theirs}} AND {{values_differ}}
    ORDER BY s.ordinal
) AS changed
GROUP BY columns, figures

-- name: note_changed_values
-- Note at rows ($2) the columns ($3) that hold something else than was written.
UPDATE {{stage}} AS s SET nulled = coalesce(s.nulled, '{}') || $3::text[] WHERE s.fetch_id = $1 AND s.ordinal = ANY($2::bigint[])

-- name: insert_rows
-- Rows of upstream that are not stored, in key order; where it is known that none is, nobody looks. {{only}} limits them to some ordinals, to find one that is refused.
WITH written AS (
    INSERT INTO {{raw}} ({{columns}})
    SELECT {{s_columns}}
    FROM {{stage}} AS s
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND {{only}} AND {{is_missing}}
    ORDER BY {{s_key}}
    RETURNING account_id, {{plain_day}} AS day, {{plain_broker}} AS broker, {{is_empty}} AS is_empty
), counted AS (
    INSERT INTO prop_trading_model.recon_run_inserts (run_id, table_name, date, broker, rows)
    SELECT $4::uuid, $5::text, day, broker, count(*) FROM written WHERE $4::uuid IS NOT NULL GROUP BY day, broker
)
SELECT account_id, array_agg(day) AS days, array_agg(rows) AS rows, array_agg(day) FILTER (WHERE is_empty) AS empty_days
FROM (SELECT account_id, day, count(*)::integer AS rows, bool_or(is_empty) AS is_empty FROM written GROUP BY account_id, day) AS by_day
GROUP BY account_id

-- name: count_writable
-- How many rows may be written.
SELECT count(*) FROM {{stage}} AS s WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}}

-- name: get_writable
-- The ordinals of the rows that may be written, to search among them for one that is refused.
SELECT s.ordinal
FROM {{stage}} AS s
WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}}
ORDER BY s.ordinal

-- name: refuse_rows
-- Rows that the table does not take for one reason: they stay in staging with it.
UPDATE {{stage}} AS s SET refused = $3, source = to_json(s) WHERE s.fetch_id = $1 AND s.ordinal = ANY($2::bigint[])

-- name: settle_stale_rows
-- Stored rows that upstream does not send. Removed, a copy kept, only where upstream has rows of the same account and date
-- whose count agrees with daily, and daily was read in this run ($6, $7: accounts and dates; date null: all); the others stay and are reported.
-- Nothing goes where a row of upstream could not be held (known before, or $8, $9: accounts and dates; date null: all): the stored one may be what is left of it,
-- nor on dates that still move (from $11 on).
WITH sent AS MATERIALIZED (
    SELECT account_id, {{plain_date}} AS day, {{sent_trades}} AS trades
    FROM {{stage}} AS s
    WHERE fetch_id = $1 AND account_id = ANY($2::text[]) AND {{sent_in_slice}}
    GROUP BY account_id, {{plain_date}}
), unheld AS MATERIALIZED (
    -- Whose a row is that has no account here, its login tells, if that can be read.
    SELECT DISTINCT coalesce(s.account_id, i.account_id) AS account_id, s.day
    FROM (
        SELECT account_id, {{plain_day}} AS day, coalesce(login::text, source ->> 'login') AS login, platform::text AS platform, broker::text AS broker
        FROM {{stage}}
        -- Where a key came twice a row may be missing instead, for which a stored one stands.
        WHERE fetch_id = $1 AND refused IS NOT NULL AND refused <> {{pinned}} AND (NOT starts_with(refused, $10) OR starts_with(refused, $10 || ' several rows'))
    ) AS s
    LEFT JOIN prop_trading_model.recon_identity AS i
      ON s.account_id IS NULL AND i.login = s.login AND coalesce(i.platform = s.platform, true) AND coalesce(i.broker = s.broker, true)
    WHERE s.account_id IS NOT NULL OR i.account_id IS NOT NULL OR s.login IS NULL
    UNION
    SELECT * FROM unnest($8::text[], $9::date[])
), found AS MATERIALIZED (
    SELECT {{t_key}}{{place}}, t.account_id AS owner, {{day_of_t}} AS day, {{row_trades}} AS trades
    FROM {{raw}} AS t
    LEFT JOIN (SELECT * FROM {{stage}} WHERE fetch_id = $1) AS s ON {{same_key_s}}
    WHERE t.account_id = ANY($2::text[]) AND {{in_slice}} AND s.{{first_key}} IS NULL
), daily AS MATERIALIZED (
    -- By what was found, and not joined to it below: of a distributed table that would fetch every row.
    SELECT DISTINCT ON (d.account_id, d.date) d.account_id, d.date, d.num_trades
    FROM (SELECT DISTINCT owner, day FROM found) AS f
    JOIN {{daily}} AS d ON d.account_id = f.owner AND d.date = f.day
), stale AS MATERIALIZED (
    SELECT f.*, row_number() OVER () AS number,
           coalesce({{removable}} AND f.day < $11::date AND sent.account_id IS NOT NULL AND sent.trades = prop_trading_model.recon_count(daily.num_trades), false)
               AND EXISTS (
                   SELECT FROM unnest($6::text[], $7::date[]) AS witnessed (account_id, day)
                   WHERE witnessed.account_id = f.owner AND coalesce(witnessed.day = f.day, witnessed.day IS NULL)
               )
               AND NOT EXISTS (
                   SELECT FROM unheld WHERE coalesce(unheld.account_id = f.owner, true) AND coalesce(unheld.day = f.day, true)
               ) AS goes
    FROM (
        -- A pinned row stays, and nothing is told of it here.
        SELECT f.* FROM found AS f
        LEFT JOIN prop_trading_model.recon_pins AS p ON p.table_name = $5 AND p.row_key = {{unit_of_f}}
        WHERE p.row_key IS NULL
    ) AS f
    LEFT JOIN sent ON sent.account_id = f.owner AND sent.day = f.day
    LEFT JOIN daily ON daily.account_id = f.owner AND daily.date = f.day
), going AS MATERIALIZED (
    -- Only those: a row that stays is not locked, and so not written either.
    SELECT {{t_key}}{{place}}, m.number, m.owner, m.day, m.trades, to_jsonb(t) AS old_row
    FROM stale AS m
    JOIN {{raw}} AS t ON {{same_row}}
    WHERE m.goes
    ORDER BY {{t_key}}
    {{locked_to_go}}
), removed AS (
    DELETE FROM {{raw}} AS t USING going AS m WHERE {{same_row}} RETURNING m.number, m.owner, m.day, m.trades, m.old_row
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT $4, owner, $5, day, 'removed', old_row FROM removed
)
SELECT account_id, day, goes, count(*) AS rows, sum(trades)::bigint AS trades
FROM (
    -- By grouping and not by a join, which would loop over all pairs.
    SELECT number, min(owner) AS account_id, min(day) AS day, max(trades) AS trades, bool_or(went) AS goes
    FROM (
        SELECT number, owner, day, trades, false AS went FROM stale
        UNION ALL
        SELECT number, owner, day, trades, true FROM removed
    ) AS each
    GROUP BY number
) AS settled
GROUP BY account_id, day, goes

-- name: get_unheld_days
-- The dates of accounts on which rows of upstream were refused, but those that only a narrow key keeps from standing beside another row of upstream.
SELECT DISTINCT account_id, {{date}} AS day FROM {{stage}} WHERE fetch_id = $1 AND account_id = ANY($2::text[]) AND refused IS NOT NULL AND NOT starts_with(refused, $3) AND refused <> {{pinned}}

-- name: get_refused
-- Rows of a fetch that could not be held, and numbers that were out of range, with the accounts of $2 that they belong to, by reason.
SELECT owners, refused, count(*) AS rows, coalesce(sum(cardinality(nulled)), 0)::bigint AS nulled, array_agg(ordinal ORDER BY ordinal) AS ordinals,
       array_agg(row_key ORDER BY ordinal) AS keys, string_agg(DISTINCT array_to_string(nulled, ', '), ', ') AS nulled_columns
FROM (
    SELECT
        CASE WHEN account_id IS NOT NULL THEN ARRAY[account_id::text]
             ELSE ARRAY(
                 SELECT DISTINCT i.account_id FROM prop_trading_model.recon_identity AS i
                 WHERE i.account_id = ANY($2::text[]) AND i.login = coalesce(s.login::text, s.source ->> 'login')
             )
        END AS owners,
        ordinal, refused, nulled, {{key_text}} AS row_key
    FROM {{stage}} AS s
    -- What is only withheld until its date is settled is held as it stands.
    WHERE fetch_id = $1 AND (refused IS NOT NULL OR nulled IS NOT NULL) AND refused IS DISTINCT FROM $3 AND refused IS DISTINCT FROM {{pinned}}
) AS unheld
GROUP BY owners, refused

-- name: set_aside_rows
-- Keep the rows that the warehouse cannot hold as they were sent, with the reason; but those for which only a partition is missing ($5) and whose trades tell
-- that, and
-- those that are held but for a value and are nobody's of $2, and those that are only withheld until their date is settled ($6). $7 are the dates that
-- were read. How many rows were set aside and how many values nulled, by account ('': none of these), but those that another read of this run ($4)
-- brought already.
WITH unheld AS MATERIALIZED (
    SELECT
        nullif({{key_text}}, '') AS row_key,
        -- Of what was sent: a row that was refused at the write was noted with what staging adds, which is new each time.
        md5(CASE WHEN source ->> 'fetch_id' IS NULL AND source IS NOT NULL THEN source::text
                 ELSE (to_jsonb(s) - ARRAY['fetch_id', 'ordinal', 'unsent', 'refused', 'nulled', 'source'])::text END) AS row_digest,
        {{day_of_s}} AS day,
        coalesce(account_id::text, (
            SELECT min(i.account_id) FROM prop_trading_model.recon_identity AS i
            WHERE i.account_id = ANY($2::text[]) AND i.login = coalesce(s.login::text, s.source ->> 'login')
        )) AS owner,
        refused, coalesce(refused, (
            SELECT concat_ws(
                '; ',
                'stored with NULL, since the value cannot be held: ' || string_agg(name, ', ') FILTER (WHERE NOT name LIKE '% (%'),
                'stored without a value that is no count, so that a stored one stays: ' || string_agg(split_part(name, ' (', 1), ', ') FILTER (WHERE name LIKE '% (no count)'),
                'stored with U+FFFD for characters that no text can hold: '
                    || string_agg(split_part(name, ' (', 1), ', ') FILTER (WHERE name LIKE '% (characters replaced)'),
                'stored with other values, which a trigger or rule of the table''s owner chose: '
                    || string_agg(split_part(name, ' (', 1), ', ') FILTER (WHERE name LIKE '% (changed by the table)')
            )
            FROM unnest(nulled) AS name
        )) AS reason,
        coalesce(cardinality(nulled), 0) AS nulled, coalesce(source, to_json(s)) AS row_data
    FROM {{stage}} AS s
    WHERE fetch_id = $1 AND refused IS DISTINCT FROM $6 AND refused IS DISTINCT FROM {{pinned}}
      AND (refused IS NOT NULL AND (NOT starts_with(refused, $5) OR {{has_no_trades}}) OR refused IS NULL AND nulled IS NOT NULL)
), beside AS MATERIALIZED (
    -- A row without a date came with the dates that its account has in the fetch: it goes once each of them was read without it.
    SELECT account_id::text AS owner, array_agg(DISTINCT {{plain_day}}) AS days, range_agg(daterange({{plain_day}}, {{plain_day}}, '[]')) AS spans
    FROM {{stage}}
    WHERE fetch_id = $1 AND refused IS NULL AND {{plain_day}} IS NOT NULL
      AND account_id::text = ANY(ARRAY(SELECT owner FROM unheld WHERE day IS NULL AND refused IS NOT NULL))
    GROUP BY account_id
), whole AS MATERIALIZED (
    SELECT coalesce(row_key, 'row without a key ' || row_digest) AS row_key, row_digest, count(*) AS copies, min(day) AS date, min(owner) AS owner,
           min(refused) IS NOT NULL AS is_refused, sum(nulled) AS nulled, min(reason) AS reason, min(row_data::text)::json AS row_data
    FROM unheld
    WHERE refused IS NOT NULL OR owner = ANY($2::text[])
    GROUP BY unheld.row_key, row_digest
), kept AS (
    INSERT INTO prop_trading_model.recon_set_aside_rows AS a
        (table_name, row_key, row_digest, copies, date, account_id, reason, row_data, run_id, asked, asked_dates)
    SELECT $3, row_key, row_digest, copies, date, owner, reason, row_data, $4, CASE WHEN owner IS NULL THEN ($2::text[])[1:100] END,
           CASE WHEN date IS NULL THEN coalesce((SELECT b.spans FROM beside AS b WHERE b.owner = whole.owner), {{asked_dates}}) END
    FROM whole
    ORDER BY row_key, row_digest
    ON CONFLICT (table_name, row_key, row_digest) DO UPDATE
    SET copies = CASE WHEN a.run_id = excluded.run_id THEN greatest(a.copies, excluded.copies) ELSE excluded.copies END,
        date = excluded.date, account_id = excluded.account_id, reason = excluded.reason, row_data = excluded.row_data,
        run_id = excluded.run_id, last_seen = now(), asked = excluded.asked,
        -- Fewer dates tell better which read must bring it.
        asked_dates = CASE WHEN a.asked_dates && excluded.asked_dates THEN a.asked_dates * excluded.asked_dates
                           ELSE coalesce(excluded.asked_dates, a.asked_dates) END
    RETURNING a.account_id, a.date
), doubted AS (
    -- Audits read them again, since no count tells when upstream stops sending it.
    INSERT INTO prop_trading_model.recon_doubted_dates (account_id, date)
    SELECT DISTINCT kept.account_id, day FROM kept JOIN beside AS b ON b.owner = kept.account_id, unnest(b.days) AS days (day)
    WHERE kept.date IS NULL
    ON CONFLICT (account_id, date) DO UPDATE SET noted_at = excluded.noted_at
)
SELECT CASE WHEN w.owner = ANY($2::text[]) THEN w.owner ELSE '' END AS owner,
       coalesce(sum(greatest(w.copies - coalesce(a.copies, 0), 0)) FILTER (WHERE w.is_refused AND NOT starts_with(w.reason, $5)), 0)::bigint AS rows,
       coalesce(sum(w.nulled) FILTER (WHERE a.row_key IS NULL), 0)::bigint AS nulled
FROM whole AS w
-- As they stood before this statement.
LEFT JOIN prop_trading_model.recon_set_aside_rows AS a
    ON a.table_name = $3 AND a.row_key = w.row_key AND a.row_digest = w.row_digest AND a.run_id = $4
GROUP BY 1

-- name: take_off_set_aside
-- Rows of accounts ($2), or of none that came when these were asked for, that were set aside on the dates that were read, and were not again in this
-- transaction: stored by now, or not sent any more. One without a date goes once each date for which it came was read without it.
WITH brought AS MATERIALIZED (
    SELECT a.row_key, a.row_digest, a.date IS NULL AND a.asked_dates && {{read_dates}} AND NOT a.asked_dates <@ {{read_dates}} AS may_come
    FROM prop_trading_model.recon_set_aside_rows AS a
    WHERE a.table_name = $1 AND a.last_seen < now() AND ({{set_aside_in_slice}} OR a.date IS NULL AND a.asked_dates && {{read_dates}})
      AND (
          a.account_id = ANY($2::text[])
          OR a.account_id IS NULL AND coalesce(
              a.asked && $2::text[],
              a.row_data ->> 'login' = ANY(ARRAY(SELECT login FROM prop_trading_model.recon_identity WHERE account_id = ANY($2::text[])))
          )
      )
), fewer AS (
    UPDATE prop_trading_model.recon_set_aside_rows AS a SET asked_dates = a.asked_dates - {{read_dates}}
    FROM brought AS b
    WHERE b.may_come AND a.table_name = $1 AND a.row_key = b.row_key AND a.row_digest = b.row_digest
)
DELETE FROM prop_trading_model.recon_set_aside_rows AS a
USING brought AS b
WHERE b.may_come IS NOT TRUE AND a.table_name = $1 AND a.row_key = b.row_key AND a.row_digest = b.row_digest

-- name: begin_descents
-- Dates whose daily rows an audit's heal changed: their finer rows are to be read, in this run or, if it breaks off, in the next.
INSERT INTO prop_trading_model.recon_descents (account_id, date)
SELECT * FROM unnest($1::text[], $2::date[])
ON CONFLICT DO NOTHING

-- name: note_doubts
-- Settled dates on which upstream's word lowered figures: audits read them again, since upstream may be sick.
INSERT INTO prop_trading_model.recon_doubted_dates (account_id, date)
SELECT * FROM unnest($1::text[], $2::date[])
ON CONFLICT (account_id, date) DO UPDATE SET noted_at = excluded.noted_at

-- name: end_descents
-- Dates whose finer rows were read.
DELETE FROM prop_trading_model.recon_descents AS d
USING unnest($1::text[], $2::date[]) AS done (account_id, date)
WHERE d.account_id = done.account_id AND d.date = done.date
