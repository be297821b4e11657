"""The earlier system's own migrations as a deployment runs them again: each may be repeated, and
grants name no argument types.
"""

CORE = (
    """
CREATE TABLE IF NOT EXISTS SCHEMA.trade_recon (
    account_id             varchar(255) PRIMARY KEY,
    has_alltime            boolean NOT NULL DEFAULT false,
    num_trades_alltime     integer,
    has_daily              boolean NOT NULL DEFAULT false,
    num_trades_daily       integer,
    has_hourly             boolean NOT NULL DEFAULT false,
    num_trades_hourly      integer,
    has_raw_closed         boolean NOT NULL DEFAULT false,
    num_trades_raw_closed  integer,
    trades_recon_checksum  boolean NOT NULL DEFAULT false,
    issues                 jsonb DEFAULT '[]',
    last_checked           timestamptz DEFAULT now(),
    last_reconciled        timestamptz,
    failed_attempts        integer DEFAULT 0,
    last_failed_attempt    timestamptz,
    created_at             timestamptz DEFAULT now()
)
""",
    "CREATE INDEX IF NOT EXISTS recon_by_checksum ON SCHEMA.trade_recon (trades_recon_checksum)",
    """
CREATE MATERIALIZED VIEW IF NOT EXISTS SCHEMA.mv_all_account_ids AS
SELECT account_id FROM SCHEMA.raw_metrics_alltime WHERE account_id IS NOT NULL
UNION
SELECT account_id FROM SCHEMA.raw_trades_closed WHERE account_id IS NOT NULL
""",
    "CREATE INDEX IF NOT EXISTS recon_all_ids ON SCHEMA.mv_all_account_ids (account_id)",
)
UPDATE_STATS = """
CREATE OR REPLACE FUNCTION SCHEMA.update_trade_recon_stats({argument} {type}) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    alltime integer;
    daily bigint;
    hourly bigint;
    closed bigint;
BEGIN
    SELECT max(num_trades) INTO alltime FROM SCHEMA.raw_metrics_alltime WHERE account_id = $1;
    SELECT sum(num_trades) INTO daily FROM SCHEMA.raw_metrics_daily WHERE account_id = $1;
    SELECT sum(num_trades) INTO hourly FROM SCHEMA.raw_metrics_hourly WHERE account_id = $1;
    SELECT count(*) INTO closed FROM SCHEMA.raw_trades_closed WHERE account_id = $1;
    -- A level without rows has no figure.
    INSERT INTO SCHEMA.trade_recon (
        account_id, has_alltime, num_trades_alltime, has_daily, num_trades_daily, has_hourly, num_trades_hourly,
        has_raw_closed, num_trades_raw_closed, trades_recon_checksum, last_checked
    )
    VALUES (
        $1, alltime IS NOT NULL, alltime, daily IS NOT NULL, daily, hourly IS NOT NULL, hourly, closed > 0, closed,
        coalesce(alltime = daily AND daily = hourly AND hourly = closed, false), now()
    )
    ON CONFLICT (account_id) DO UPDATE
    SET has_alltime = excluded.has_alltime, num_trades_alltime = excluded.num_trades_alltime,
        has_daily = excluded.has_daily, num_trades_daily = excluded.num_trades_daily,
        has_hourly = excluded.has_hourly, num_trades_hourly = excluded.num_trades_hourly,
        has_raw_closed = excluded.has_raw_closed, num_trades_raw_closed = excluded.num_trades_raw_closed,
        trades_recon_checksum = excluded.trades_recon_checksum, last_checked = now();
END
$$
"""
_FINAL = (
    (
        "ALTER TABLE SCHEMA.trade_recon ADD COLUMN IF NOT EXISTS reconciliation_status varchar(50)"
        " DEFAULT 'pending'"
    ),
    """
CREATE OR REPLACE FUNCTION SCHEMA.get_issue_statistics()
RETURNS TABLE (issue_type text, severity integer, account_count bigint, sample_accounts text[]) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    SELECT entry ->> 'type', (entry ->> 'severity')::integer, count(DISTINCT r.account_id), array_agg(DISTINCT r.account_id::text)
    FROM SCHEMA.trade_recon AS r, jsonb_array_elements(r.issues) AS entry
    GROUP BY 1, 2;
END
$$
""",
    "CREATE INDEX IF NOT EXISTS recon_by_issue ON SCHEMA.trade_recon USING gin (issues)",
    """
CREATE OR REPLACE VIEW SCHEMA.v_reconciliation_progress AS
SELECT count(*) AS total_accounts, count(*) FILTER (WHERE trades_recon_checksum) AS reconciled,
       count(*) FILTER (WHERE NOT trades_recon_checksum) AS needs_reconciliation,
       count(*) FILTER (WHERE failed_attempts > 0) AS has_failures,
       count(*) FILTER (WHERE jsonb_array_length(issues) > 0) AS has_issues,
       round(100.0 * count(*) FILTER (WHERE trades_recon_checksum) / nullif(count(*), 0), 2) AS reconciliation_percentage,
       max(last_checked) AS last_activity, min(last_checked) FILTER (WHERE NOT trades_recon_checksum) AS oldest_unreconciled
FROM SCHEMA.trade_recon
""",
    "GRANT USAGE ON SCHEMA THIS_SCHEMA TO SERVICE_ROLE",
    "GRANT SELECT ON SCHEMA.v_reconciliation_progress TO SERVICE_ROLE",
    "GRANT SELECT, INSERT, UPDATE ON SCHEMA.trade_recon TO SERVICE_ROLE",
    "GRANT EXECUTE ON FUNCTION SCHEMA.update_trade_recon_stats TO SERVICE_ROLE",
    "GRANT EXECUTE ON FUNCTION SCHEMA.get_issue_statistics TO SERVICE_ROLE",
    "ANALYZE SCHEMA.trade_recon",
)


def earlier_migration(argument: str = "p_account_id", sql_type: str = "varchar") -> tuple[str, ...]:
    """Its statements, in the order in which they stand; the function's argument may have another
    name or type.
    """
    return (
        *CORE,
        UPDATE_STATS.replace("{argument}", argument).replace("{type}", sql_type),
        *_FINAL,
    )
