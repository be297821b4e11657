"""The warehouse of the system that trade-recon re-implements: its keys, checks and triggers, and
the objects it left behind.
"""

from collections.abc import Mapping

from app.domain.contract.tables import TABLES, Endpoint
from app.sandbox.world.world import World
from tests.support.warehouses.ddl import DATED, METRICS, TRADES, monthly_partitions, raw_table
from tests.support.warehouses.shape import Shape
from tests.support.warehouses.worlds import DAYS, edit, world

SCHEMA = "prop_trading_model"
IN_PARTS = ("acc-00002", "acc-00009")
"""Accounts that close a position in two parts on one day: the trades' primary key holds one of
them.
"""
TOO_SUCCESSFUL = "acc-00005"
"""Upstream sends hourly rows of this account with a rate that a CHECK refuses."""

_KEYS = {
    Endpoint.ALLTIME: "PRIMARY KEY (account_id)",
    Endpoint.DAILY: "PRIMARY KEY (account_id, date)",
    Endpoint.HOURLY: "PRIMARY KEY (account_id, date, hour)",
}
_NOT_NULL = {"login": "varchar(255) NOT NULL", "num_trades": "integer NOT NULL DEFAULT 0"}
_TRADES_NOT_NULL = {
    "trade_date": "date NOT NULL",
    "platform": "integer NOT NULL",
    "position": "varchar(255) NOT NULL",
    "login": "varchar(255) NOT NULL",
    "broker": "integer NOT NULL",
    "std_symbol": "varchar(50) NOT NULL",
}
_CHECKS = (
    "CONSTRAINT known_phase CHECK (phase BETWEEN 1 AND 4)",
    "CONSTRAINT losses_are_negative CHECK (gross_loss <= 0)",
    "CONSTRAINT rate_is_a_percentage CHECK (success_rate BETWEEN 0 AND 100)",
)
_PLACEHOLDER = """
CREATE FUNCTION SCHEMA.fill_missing_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.account_id := md5(NEW.login || '|' || NEW.platform || '|' || NEW.broker);
    RETURN NEW;
END
$$
"""
_RECON = """
CREATE TABLE SCHEMA.trade_recon (
    account_id             varchar(255) PRIMARY KEY,
    has_alltime            boolean NOT NULL DEFAULT false,
    num_trades_alltime     integer,
    has_daily              boolean NOT NULL DEFAULT false,
    num_trades_daily       integer,
    has_hourly             boolean NOT NULL DEFAULT false,
    num_trades_hourly      integer,
    has_raw_closed         boolean NOT NULL DEFAULT false,
    num_trades_raw_closed  integer,
    trades_recon_checksum  boolean,
    issues                 jsonb DEFAULT '[]',
    last_checked           timestamptz DEFAULT now(),
    last_reconciled        timestamptz,
    failed_attempts        integer DEFAULT 0,
    last_failed_attempt    timestamptz,
    created_at             timestamptz DEFAULT now()
)
"""
_STATISTICS = """
CREATE FUNCTION SCHEMA.get_issue_statistics()
RETURNS TABLE (issue_type varchar, severity integer, account_count bigint, sample_accounts varchar[]) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    SELECT (entry ->> 'type')::varchar, (entry ->> 'severity')::integer, count(*), (array_agg(r.account_id))[1:5]::varchar[]
    FROM SCHEMA.trade_recon AS r CROSS JOIN jsonb_array_elements(r.issues) AS entry
    GROUP BY 1, 2;
END
$$
"""
_UPDATE_STATS = """
CREATE FUNCTION SCHEMA.update_trade_recon_stats(p_account_id varchar) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE SCHEMA.trade_recon SET num_trades_raw_closed = (SELECT count(*) FROM SCHEMA.raw_trades_closed WHERE account_id = p_account_id)
    WHERE account_id = p_account_id;
END
$$
"""
_PROGRESS = """
CREATE VIEW SCHEMA.v_reconciliation_progress AS
SELECT count(*) AS total_accounts, count(*) FILTER (WHERE trades_recon_checksum) AS reconciled,
       count(*) FILTER (WHERE NOT trades_recon_checksum) AS needs_reconciliation,
       count(*) FILTER (WHERE failed_attempts > 0) AS has_failures,
       count(*) FILTER (WHERE jsonb_array_length(issues) > 0) AS has_issues,
       round(100.0 * count(*) FILTER (WHERE trades_recon_checksum) / greatest(count(*), 1), 2) AS reconciliation_percentage,
       max(last_checked) AS last_activity, min(last_checked) AS oldest_unreconciled
FROM SCHEMA.trade_recon
"""
_ACCOUNT_IDS = " UNION ".join(
    f"SELECT account_id FROM SCHEMA.{table.name} WHERE account_id IS NOT NULL"
    for table in TABLES.values()
)

OLD_OBJECTS = (
    _RECON,
    (
        "CREATE INDEX trade_recon_waiting ON SCHEMA.trade_recon (last_checked) WHERE NOT"
        " trades_recon_checksum"
    ),
    "CREATE INDEX trade_recon_issues ON SCHEMA.trade_recon USING gin (issues)",
    _STATISTICS,
    _UPDATE_STATS,
    _PROGRESS,
    (
        "CREATE VIEW SCHEMA.firm_dashboard AS SELECT total_accounts, reconciliation_percentage FROM"
        " SCHEMA.v_reconciliation_progress"
    ),
    f"CREATE MATERIALIZED VIEW SCHEMA.mv_all_account_ids AS {_ACCOUNT_IDS}",
    "CREATE INDEX all_account_ids ON SCHEMA.mv_all_account_ids (account_id)",
)
"""What the old system reconciled with."""

_NOTHING_KNOWN = """
INSERT INTO SCHEMA.trade_recon (account_id, issues, failed_attempts, trades_recon_checksum) VALUES ('acc-00001', NULL, NULL, NULL)
"""
_ISSUE_OF_ITS_OWN = """
INSERT INTO SCHEMA.trade_recon
    (account_id, has_daily, num_trades_daily, failed_attempts, last_failed_attempt, trades_recon_checksum, issues)
VALUES ('acc-00003', true, 4, 3, now(), false, '[{
    "type": "daily_without_hourly", "severity": 2, "description": "Daily rows without hourly ones", "affected": ["raw_metrics_hourly"],
    "resolution_strategy": "fetch_hourly_for_existing_daily", "missing_dates": ["2024-01-02"], "total_missing": 1
}]')
"""
_NO_ACCOUNT = """
INSERT INTO SCHEMA.trade_recon (account_id)
SELECT md5(login || '|' || platform || '|' || broker) FROM SCHEMA.raw_metrics_alltime WHERE account_id = 'acc-00010'
"""
_LOST_ID = """
UPDATE SCHEMA.raw_metrics_daily SET account_id = NULL
WHERE account_id = 'acc-00010' AND date = (SELECT min(date) FROM SCHEMA.raw_metrics_daily WHERE account_id = 'acc-00010')
"""

OLD_ROWS = (
    _NOTHING_KNOWN,
    _ISSUE_OF_ITS_OWN,
    _NO_ACCOUNT,
    "REFRESH MATERIALIZED VIEW SCHEMA.mv_all_account_ids",
)
"""What it had recorded: nothing at all, an issue of its own, and an account that never was one."""

GRANTS = (
    "GRANT USAGE ON SCHEMA THIS_SCHEMA TO SERVICE_ROLE",
    "GRANT SELECT ON SCHEMA.trade_recon, SCHEMA.v_reconciliation_progress TO SERVICE_ROLE",
    "GRANT SELECT ON SCHEMA.firm_dashboard, SCHEMA.mv_all_account_ids TO SERVICE_ROLE",
    (
        "GRANT EXECUTE ON FUNCTION SCHEMA.get_issue_statistics(),"
        " SCHEMA.update_trade_recon_stats(varchar) TO SERVICE_ROLE"
    ),
)
"""What a role of dashboards may read."""


def _metrics(*, hourly_is_plain: bool = False) -> list[str]:
    made = [_PLACEHOLDER]
    for endpoint in METRICS:
        name = TABLES[endpoint].name
        is_plain = endpoint not in DATED or (hourly_is_plain and endpoint is Endpoint.HOURLY)
        partition_by = None if is_plain else "RANGE (date)"
        made.append(
            raw_table(
                endpoint, _KEYS[endpoint], *_CHECKS, types=_NOT_NULL, partition_by=partition_by
            )
        )
        made.append(
            f"CREATE TRIGGER fill_missing_account BEFORE INSERT OR UPDATE ON SCHEMA.{name} FOR EACH"
            " ROW WHEN (NEW.account_id IS NULL) EXECUTE FUNCTION SCHEMA.fill_missing_account()"
        )
        made.append(f"CREATE INDEX {name}_login ON SCHEMA.{name} (login, platform, broker)")
    return made


def _trades(ticket: str | None = None) -> list[str]:
    types = _TRADES_NOT_NULL if ticket is None else {**_TRADES_NOT_NULL, "ticket": ticket}
    return [
        statement
        for endpoint in TRADES
        for statement in (
            raw_table(
                endpoint,
                "PRIMARY KEY (platform, position, trade_date)",
                f"CONSTRAINT {TABLES[endpoint].name}_unit UNIQUE (position, login, platform,"
                " broker, trade_date)",
                "CONSTRAINT known_side CHECK (lower(side) IN ('buy', 'sell'))",
                types=types,
                partition_by="RANGE (trade_date)",
            ),
            (
                f"CREATE INDEX {TABLES[endpoint].name}_account ON SCHEMA.{TABLES[endpoint].name}"
                " (account_id)"
            ),
        )
    ]


def _world() -> World:
    made = world(in_parts=IN_PARTS)
    # One hour that the table refuses, however often it is sent.
    edit(
        made.records(Endpoint.HOURLY, [TOO_SUCCESSFUL])[:1],
        lambda row: row.update(successRate=100.5),
    )
    return made


def tables_of_heritage(
    *, ticket: str | None = None, hourly_is_plain: bool = False, days: int = DAYS
) -> tuple[str, ...]:
    """The raw tables of one of the earlier system's schemas: tickets as texts or as `ticket` says,
    hourly rows partitioned or not.
    """
    dated = [
        endpoint for endpoint in DATED if not (hourly_is_plain and endpoint is Endpoint.HOURLY)
    ]
    partitions = [
        statement for endpoint in dated for statement in monthly_partitions(endpoint, days)
    ]
    return (*_metrics(hourly_is_plain=hourly_is_plain), *_trades(ticket), *partitions)


TABLES_OF_HERITAGE = tables_of_heritage()
FORMS: Mapping[str, tuple[str, ...]] = {
    "integer tickets, plain hourly": tables_of_heritage(
        ticket="integer NOT NULL", hourly_is_plain=True
    ),
    "integer tickets, partitioned": tables_of_heritage(ticket="integer NOT NULL"),
    "text tickets, partitioned": TABLES_OF_HERITAGE,
}
"""The raw tables of the three forms in which the earlier system's schema is found."""

HERITAGE = Shape(
    name="heritage",
    schema=SCHEMA,
    tables=(*TABLES_OF_HERITAGE, *OLD_OBJECTS),
    world=_world,
    rows=OLD_ROWS,
    narrow=dict.fromkeys(
        TRADES,
        (
            ("platform", "position", "trade_date"),
            ("position", "login", "platform", "broker", "trade_date"),
        ),
    ),
    # Of an account that lost its id the trigger makes a placeholder; of two parts of a closing
    # neither is left.
    damage=(_LOST_ID, f"DELETE FROM SCHEMA.raw_trades_closed WHERE account_id = '{IN_PARTS[1]}'"),
    grants=GRANTS,
)
