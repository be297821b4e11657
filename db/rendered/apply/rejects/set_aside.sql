-- name: get_rejected
-- Rejected rows and out-of-range numbers of a fetch, by reason, with their accounts among $2.
SELECT owners, refused, count(*) AS rows, coalesce(sum(cardinality(nulled)), 0)::bigint AS nulled, array_agg(ordinal ORDER BY ordinal) AS ordinals,
       array_agg(row_key ORDER BY ordinal) AS keys, string_agg(DISTINCT array_to_string(nulled, ', '), ', ') AS nulled_columns
FROM (
    SELECT
        CASE WHEN account_id IS NOT NULL THEN ARRAY[account_id::text]
             ELSE ARRAY(
                 SELECT DISTINCT i.account_id FROM "prop_trading_model".recon_identity AS i
                 WHERE i.account_id = ANY($2::text[]) AND i.login = coalesce(s.login::text, s.source ->> 'login')
             )
        END AS owners,
        ordinal, refused, nulled, concat_ws('|', s."account_id", s."date") AS row_key
    FROM "prop_trading_model".recon_stage_daily AS s
    -- Withheld rows are stored as they are until their date settles.
    WHERE fetch_id = $1 AND (refused IS NOT NULL OR nulled IS NOT NULL) AND refused IS DISTINCT FROM $3 AND refused IS DISTINCT FROM 'pinned by restore'
) AS unheld
GROUP BY owners, refused

-- name: set_aside_rows
-- Set aside rejected rows with the reason, except rows lacking only a partition ($5) whose trades
-- show that, rows of none of $2 with just a nulled value, and withheld ones ($6). $7 are the dates
-- read. Returns rows and nulled values by account ('': none of these), without those that another
-- read of this run ($4) set aside already.
WITH unheld AS MATERIALIZED (
    SELECT
        nullif(concat_ws('|', s."account_id", s."date"), '') AS row_key,
        -- By sent values: staging adds values to rows rejected at the write that differ each time.
        md5(CASE WHEN source ->> 'fetch_id' IS NULL AND source IS NOT NULL THEN source::text
                 ELSE (to_jsonb(s) - ARRAY['fetch_id', 'ordinal', 'unsent', 'refused', 'nulled', 'source'])::text END) AS row_digest,
        s."date" AS day,
        coalesce(account_id::text, (
            SELECT min(i.account_id) FROM "prop_trading_model".recon_identity AS i
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
    FROM "prop_trading_model".recon_stage_daily AS s
    WHERE fetch_id = $1 AND refused IS DISTINCT FROM $6 AND refused IS DISTINCT FROM 'pinned by restore'
      AND (refused IS NOT NULL AND (NOT starts_with(refused, $5) OR "prop_trading_model".recon_count(num_trades) = 0) OR refused IS NULL AND nulled IS NOT NULL)
), beside AS MATERIALIZED (
    -- A row without date arrived with its account's dates in the fetch; it is dropped once each was
    -- read without it.
    SELECT account_id::text AS owner, array_agg(DISTINCT "date") AS days, range_agg(daterange("date", "date", '[]')) AS spans
    FROM "prop_trading_model".recon_stage_daily
    WHERE fetch_id = $1 AND refused IS NULL AND "date" IS NOT NULL
      AND account_id::text = ANY(ARRAY(SELECT owner FROM unheld WHERE day IS NULL AND refused IS NOT NULL))
    GROUP BY account_id
), whole AS MATERIALIZED (
    SELECT coalesce(row_key, 'row without a key ' || row_digest) AS row_key, row_digest, count(*) AS copies, min(day) AS date, min(owner) AS owner,
           min(refused) IS NOT NULL AS is_refused, sum(nulled) AS nulled, min(reason) AS reason, min(row_data::text)::json AS row_data
    FROM unheld
    WHERE refused IS NOT NULL OR owner = ANY($2::text[])
    GROUP BY unheld.row_key, row_digest
), kept AS (
    INSERT INTO "prop_trading_model".recon_set_aside_rows AS a
        (table_name, row_key, row_digest, copies, date, account_id, reason, row_data, run_id, asked, asked_dates)
    SELECT $3, row_key, row_digest, copies, date, owner, reason, row_data, $4, CASE WHEN owner IS NULL THEN ($2::text[])[1:100] END,
           CASE WHEN date IS NULL THEN coalesce((SELECT b.spans FROM beside AS b WHERE b.owner = whole.owner), (SELECT range_agg(daterange(day, day, '[]')) FROM unnest($7::date[]) AS read (day))) END
    FROM whole
    ORDER BY row_key, row_digest
    ON CONFLICT (table_name, row_key, row_digest) DO UPDATE
    SET copies = CASE WHEN a.run_id = excluded.run_id THEN greatest(a.copies, excluded.copies) ELSE excluded.copies END,
        date = excluded.date, account_id = excluded.account_id, reason = excluded.reason, row_data = excluded.row_data,
        run_id = excluded.run_id, last_seen = now(), asked = excluded.asked,
        -- Fewer dates narrow down the read that must bring it.
        asked_dates = CASE WHEN a.asked_dates && excluded.asked_dates THEN a.asked_dates * excluded.asked_dates
                           ELSE coalesce(excluded.asked_dates, a.asked_dates) END
    RETURNING a.account_id, a.date
), doubted AS (
    -- Audits reread them, since no count shows when upstream stops sending them.
    INSERT INTO "prop_trading_model".recon_doubted_dates (account_id, date)
    SELECT DISTINCT kept.account_id, day FROM kept JOIN beside AS b ON b.owner = kept.account_id, unnest(b.days) AS days (day)
    WHERE kept.date IS NULL
    ON CONFLICT (account_id, date) DO UPDATE SET noted_at = excluded.noted_at
)
SELECT CASE WHEN w.owner = ANY($2::text[]) THEN w.owner ELSE '' END AS owner,
       coalesce(sum(greatest(w.copies - coalesce(a.copies, 0), 0)) FILTER (WHERE w.is_refused AND NOT starts_with(w.reason, $5)), 0)::bigint AS rows,
       coalesce(sum(w.nulled) FILTER (WHERE a.row_key IS NULL), 0)::bigint AS nulled
FROM whole AS w
-- As of before this statement.
LEFT JOIN "prop_trading_model".recon_set_aside_rows AS a
    ON a.table_name = $3 AND a.row_key = w.row_key AND a.row_digest = w.row_digest AND a.run_id = $4
GROUP BY 1

-- name: release_set_aside
-- Release set-aside rows of accounts ($2), or of none if these were asked for, on the dates read,
-- that did not return in this transaction: they are stored or no longer sent. A row without date is
-- released once each of its dates was read without it.
WITH brought AS MATERIALIZED (
    SELECT a.row_key, a.row_digest, a.date IS NULL AND a.asked_dates && (SELECT range_agg(daterange(day, day, '[]')) FROM unnest($3::date[]) AS read (day)) AND NOT a.asked_dates <@ (SELECT range_agg(daterange(day, day, '[]')) FROM unnest($3::date[]) AS read (day)) AS may_come
    FROM "prop_trading_model".recon_set_aside_rows AS a
    WHERE a.table_name = $1 AND a.last_seen < now() AND (($3::date[] IS NULL OR a.date = ANY($3::date[])) OR a.date IS NULL AND a.asked_dates && (SELECT range_agg(daterange(day, day, '[]')) FROM unnest($3::date[]) AS read (day)))
      AND (
          a.account_id = ANY($2::text[])
          OR a.account_id IS NULL AND coalesce(
              a.asked && $2::text[],
              a.row_data ->> 'login' = ANY(ARRAY(SELECT login FROM "prop_trading_model".recon_identity WHERE account_id = ANY($2::text[])))
          )
      )
), fewer AS (
    UPDATE "prop_trading_model".recon_set_aside_rows AS a SET asked_dates = a.asked_dates - (SELECT range_agg(daterange(day, day, '[]')) FROM unnest($3::date[]) AS read (day))
    FROM brought AS b
    WHERE b.may_come AND a.table_name = $1 AND a.row_key = b.row_key AND a.row_digest = b.row_digest
)
DELETE FROM "prop_trading_model".recon_set_aside_rows AS a
USING brought AS b
WHERE b.may_come IS NOT TRUE AND a.table_name = $1 AND a.row_key = b.row_key AND a.row_digest = b.row_digest
