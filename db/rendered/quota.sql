-- name: draw_permits
-- Draw $1 permits, $2 seconds apart, with $3 seconds after them for nobody; none if they are not
-- all due within $4 seconds. Unspent time counts for $5 seconds, and not at all if $6.
INSERT INTO "prop_trading_model".recon_quota AS quota (spent_until, drawn_at, permits)
-- No row: what was drawn before it went is due within $4 seconds at the latest.
SELECT clock.now + make_interval(secs => $4::float8), clock.now, 0
FROM (SELECT clock_timestamp() AS now) AS clock
ON CONFLICT (singleton) DO UPDATE SET (spent_until, drawn_at, permits) = (
    SELECT
        drawn.base + CASE WHEN drawn.fits THEN drawn.cost ELSE interval '0' END,
        drawn.now,
        CASE WHEN drawn.fits THEN $1::bigint ELSE 0 END
    FROM (
        SELECT start.now, start.base, cost.cost,
            start.base + cost.cost <= start.now + make_interval(secs => $4::float8) AS fits
        FROM (
            SELECT
                clock.now,
                CASE
                    WHEN $6::boolean THEN clock.now + make_interval(secs => $4::float8)
                    -- Further ahead than anybody may draw: the clock was set back since.
                    ELSE greatest(
                        least(quota.spent_until, clock.now + make_interval(secs => $4::float8)),
                        clock.now - make_interval(secs => $5::float8)
                    )
                END AS base
            -- Read when the row is ours: a time from before a wait for it would pull spent_until
            -- back.
            FROM (SELECT clock_timestamp() AS now) AS clock
        ) AS start
        CROSS JOIN (SELECT make_interval(secs => $1::bigint * $2::float8 + $3::float8) AS cost)
            AS cost
    ) AS drawn
)
RETURNING quota.permits, extract(epoch FROM quota.drawn_at)::float8 AS now,
    extract(epoch FROM quota.spent_until - quota.drawn_at)::float8 AS spent_in
