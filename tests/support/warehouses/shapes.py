"""Warehouses that other firms might have: other types, no keys, other partitions, narrow keys,
numeric logins.
"""

import datetime as dt
from collections.abc import Collection, Iterator
from dataclasses import replace

from app.domain.contract.tables import TABLES, Endpoint
from app.sandbox.world.trades import Trade
from app.sandbox.world.world import World
from tests.support.engine import TODAY
from tests.support.warehouses.ddl import (
    DATED,
    OUR_UNIT,
    TRADES,
    monthly_partitions,
    range_partition,
    raw_table,
)
from tests.support.warehouses.heritage import HERITAGE
from tests.support.warehouses.shape import Shape
from tests.support.warehouses.worlds import DAYS, edit, world

_METRICS_KEYS = {
    Endpoint.ALLTIME: "account_id",
    Endpoint.DAILY: "account_id, date",
    Endpoint.HOURLY: "account_id, date, hour",
}
_UNITS = {**_METRICS_KEYS, **dict.fromkeys(TRADES, OUR_UNIT)}

# Other types
# ---------------------------------------------------------------------------------------------------------

WITHOUT_BROKER = "acc-00005"
"""Upstream knows no broker of this account."""
WORDY = "acc-00002"
"""One trade of this account has a comment that the column is too short for."""

_FEW_METRICS = frozenset(
    [
        "#",
        "noqa:",
        "SIM905",
        "(a",
        "list",
        "of",
        "quoted",
        "words",
        "is",
        "harder",
        "to",
        "read)",
        "date",
        "datetime",
        "hour",
        "login",
        "account_id",
        "plan_id",
        "status",
        "type",
        "phase",
        "broker",
        "platform",
        "country",
        "starting_balance",
        "current_balance",
        "first_trade_date",
        "days_since_first_trade",
        "num_trades",
        "first_trade_open",
        "last_trade_close",
        "net_profit",
        "gross_profit",
        "gross_loss",
        "gain_to_pain",
        "profit_factor",
        "success_rate",
        "expectancy",
        "mean_profit",
        "median_profit",
        "std_profits",
        "min_profit",
        "max_profit",
        "max_drawdown",
        "max_num_trades_in_dd",
        "net_profit_per_usd_volume",
        "total_lots",
        "total_volume",
        "mean_duration",
        "median_duration",
        "num_traded_symbols",
        "most_traded_symbol",
        "updated_date",
    ]
)
_OTHER_TYPES = {
    # As hosters install extensions: in a schema of their own, which no search path names.
    "login": '"Extensions".citext NOT NULL',
    "account_id": "text",
    "platform": "text NOT NULL",
    "broker": "integer",
    "hour": "smallint",
    "status": "smallint",
    "phase": "bigint",
    "num_trades": "bigint",
    "max_num_trades_in_dd": "smallint",
    "num_traded_symbols": "smallint",
    "datetime": "timestamptz",
    "first_trade_open": "timestamptz",
    "last_trade_close": "timestamptz",
    "updated_date": "timestamptz",
    "net_profit": "numeric",
    "gross_profit": "numeric",
    "gain_to_pain": "real",
    "success_rate": "real",
    "profit_factor": "double precision",
    "mean_profit": "double precision",
    "total_lots": "double precision",
    "total_volume": "double precision",
    # An owner who computes a figure himself.
    "net_profit_per_usd_volume": (
        "double precision GENERATED ALWAYS AS (net_profit::double precision / nullif(total_volume,"
        " 0)) STORED"
    ),
    "ticket": "integer NOT NULL",
    "position": "bigint NOT NULL",
    "side": "SCHEMA.trade_side",
    "std_symbol": "SCHEMA.symbol",
    "comment": "varchar(20)",
    "open_time": "timestamptz",
    "close_time": "timestamptz",
    "lots": "numeric",
    "profit": "double precision",
    "swap": "real",
}
_OWNERS_COLUMNS = (
    "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "desk text NOT NULL DEFAULT 'fx'",
    "loaded_by text DEFAULT current_user",
    "updated_at timestamptz DEFAULT now()",
)
_TOUCH = """
CREATE FUNCTION SCHEMA.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$
"""
_AUDIT = """
CREATE FUNCTION SCHEMA.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO SCHEMA.change_log (table_name, operation) VALUES (TG_TABLE_NAME, TG_OP);
    RETURN NULL;
END
$$
"""


def _other_types() -> Iterator[str]:
    yield 'CREATE SCHEMA "Extensions"'
    yield 'CREATE EXTENSION citext SCHEMA "Extensions"'
    yield "CREATE TYPE SCHEMA.trade_side AS ENUM ('Buy', 'Sell')"
    yield "CREATE DOMAIN SCHEMA.symbol AS text CHECK (length(VALUE) BETWEEN 3 AND 12)"
    yield (
        "CREATE TABLE SCHEMA.change_log (noted_at timestamptz DEFAULT now(), table_name text NOT"
        " NULL, operation text NOT NULL)"
    )
    yield _TOUCH
    yield _AUDIT
    for endpoint, unit in _UNITS.items():
        name = TABLES[endpoint].name
        only = None if endpoint.is_trades else _FEW_METRICS
        own = ("ingestion_timestamp", "source_api_endpoint")
        yield raw_table(
            endpoint,
            *_OWNERS_COLUMNS,
            f"UNIQUE ({unit})",
            types=_OTHER_TYPES,
            only=only,
            without=own,
        )
        yield (
            f"CREATE TRIGGER touch BEFORE UPDATE ON SCHEMA.{name} FOR EACH ROW EXECUTE FUNCTION"
            " SCHEMA.touch()"
        )
        yield (
            f"CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON SCHEMA.{name}"
            " FOR EACH ROW EXECUTE FUNCTION SCHEMA.note_change()"
        )


def _of_many_types() -> World:
    wordy = min(
        (trade for trade in world().trades(WORDY) if not trade.is_open),
        key=lambda trade: trade.trade_key,
    )
    made = world(
        change=lambda trade: (
            replace(trade, comment="closed by hand, after a call") if trade == wordy else trade
        )
    )
    for endpoint in Endpoint:
        edit(made.records(endpoint, [WITHOUT_BROKER]), lambda row: row.update(broker=None))
    return made


OTHER_TYPES = Shape(
    name="other types", schema="Firm_Risk", tables=tuple(_other_types()), world=_of_many_types
)

# No keys at all
# ------------------------------------------------------------------------------------------------------

TWICE = "acc-00001"
"""Rows of this account are stored twice."""

_CONTRADICTION = f"""
INSERT INTO SCHEMA.raw_metrics_daily (account_id, date, login, platform, broker, num_trades)
SELECT account_id, date, login, platform, broker, 77 FROM SCHEMA.raw_metrics_daily WHERE account_id = '{TWICE}' ORDER BY date LIMIT 1
"""
"""A daily row once more with another figure: neither says which of them is right."""

NO_KEYS = Shape(
    name="no keys",
    schema="landing",
    tables=tuple(raw_table(endpoint) for endpoint in Endpoint),
    damage=(
        (
            "INSERT INTO SCHEMA.raw_metrics_alltime SELECT * FROM SCHEMA.raw_metrics_alltime WHERE"
            f" account_id = '{TWICE}'"
        ),
        *(
            f"INSERT INTO SCHEMA.{TABLES[endpoint].name} (SELECT * FROM"
            f" SCHEMA.{TABLES[endpoint].name} WHERE account_id = '{TWICE}' ORDER BY"
            f" {TABLES[endpoint].date_column} LIMIT 2)"
            for endpoint in (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
        ),
        _CONTRADICTION,
    ),
)

# Partitioned otherwise
# -----------------------------------------------------------------------------------------------

MISSING_MONTH = (TODAY.replace(day=1) - dt.timedelta(days=1)).replace(day=1)
"""The month before this one: no table of that shape has partitions for all of it."""
_IN_MISSING_MONTH = frozenset(
    {"acc-00001", "acc-00002", "acc-00003", "acc-00005", "acc-00007", "acc-00009"}
)
"""The only accounts that may trade in it."""
_LONG = 100


def _other_partitions() -> Iterator[str]:
    for endpoint, unit in _UNITS.items():
        partition_by = {
            Endpoint.ALLTIME: "HASH (account_id)",
            Endpoint.DAILY: "RANGE (date)",
            Endpoint.HOURLY: "RANGE (date)",
            Endpoint.CLOSED: "HASH (login)",
            Endpoint.OPEN: "RANGE (trade_date)",
        }[endpoint]
        yield raw_table(endpoint, f"PRIMARY KEY ({unit})", partition_by=partition_by)
    for name in ("raw_metrics_alltime", "raw_trades_closed"):
        for remainder in range(3):
            yield (
                f"CREATE TABLE SCHEMA.{name}_part{remainder} PARTITION OF SCHEMA.{name} FOR VALUES"
                f" WITH (MODULUS 3, REMAINDER {remainder})"
            )
    # By years, but for the missing month.
    end = (MISSING_MONTH + dt.timedelta(days=32)).replace(day=1)
    yield range_partition(
        "raw_metrics_daily", '"days until autumn"', dt.date(2000, 1, 1), MISSING_MONTH
    )
    yield range_partition("raw_metrics_daily", '"days since"', end, end.replace(year=end.year + 2))
    # By weeks with names of the owner's own, and two weeks missing.
    week = TODAY - dt.timedelta(days=_LONG + 14)
    for number in range(24):
        first = week + dt.timedelta(weeks=number)
        if not MISSING_MONTH <= first < MISSING_MONTH + dt.timedelta(weeks=2):
            yield range_partition(
                "raw_metrics_hourly",
                f"hours_{number}_{first:%d%b}",
                first,
                first + dt.timedelta(weeks=1),
            )
    yield range_partition("raw_trades_open", "open_before", dt.date(2000, 1, 1), MISSING_MONTH)
    yield "CREATE TABLE SCHEMA.open_others PARTITION OF SCHEMA.raw_trades_open DEFAULT"


def _hardly_in_the_missing_month() -> World:
    end = (MISSING_MONTH + dt.timedelta(days=32)).replace(day=1)
    return world(
        days=_LONG,
        keep=lambda trade: (
            trade.account_id in _IN_MISSING_MONTH or not MISSING_MONTH <= trade.trade_date < end
        ),
    )


OTHER_PARTITIONS = Shape(
    name="other partitions",
    schema="warehouse",
    tables=tuple(_other_partitions()),
    world=_hardly_in_the_missing_month,
)
SERVICE_ROLE = replace(
    OTHER_PARTITIONS,
    name="other partitions, another owner",
    role=True,
    grants=(
        "GRANT USAGE, CREATE ON SCHEMA THIS_SCHEMA TO SERVICE_ROLE",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA THIS_SCHEMA TO SERVICE_ROLE",
    ),
)

# Narrow keys
# ---------------------------------------------------------------------------------------------------------

IN_PARTS = ("acc-00002",)
UNKNOWN_TO_THE_FIRM = "acc-00005"
"""The firm's own table of accounts lacks this one, so that a foreign key refuses its trades."""
TRADES_US30 = "acc-00009"
"""The only account that trades the symbol which a trigger refuses."""

_REFUSE_SYMBOL = """
CREATE FUNCTION SCHEMA.refuse_symbol() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.std_symbol = 'US30' THEN
        RAISE EXCEPTION 'we do not trade %', NEW.std_symbol;
    END IF;
    RETURN NEW;
END
$$
"""


def _narrow_keys() -> Iterator[str]:
    yield "CREATE TABLE SCHEMA.firm_accounts (account_id varchar(255) PRIMARY KEY, opened_by text)"
    yield raw_table(Endpoint.ALLTIME, "PRIMARY KEY (account_id)", "UNIQUE (login)")
    yield raw_table(Endpoint.DAILY, "PRIMARY KEY (login, date)", partition_by="RANGE (date)")
    yield raw_table(Endpoint.HOURLY, "PRIMARY KEY (account_id, date, hour)")
    yield raw_table(
        Endpoint.CLOSED,
        "CONSTRAINT one_position_a_day UNIQUE (login, platform, position, trade_date) DEFERRABLE"
        " INITIALLY DEFERRED",
        "CONSTRAINT of_an_account FOREIGN KEY (account_id) REFERENCES SCHEMA.firm_accounts",
    )
    yield raw_table(Endpoint.OPEN, f"PRIMARY KEY ({OUR_UNIT})")
    yield from monthly_partitions(Endpoint.DAILY, DAYS)
    yield (
        "INSERT INTO SCHEMA.firm_accounts (account_id) SELECT format('acc-%s', lpad(n::text, 5,"
        " '0')) FROM generate_series(1, 99) AS n WHERE n <>"
        f" {int(UNKNOWN_TO_THE_FIRM.removeprefix('acc-'))}"
    )
    yield _REFUSE_SYMBOL
    yield (
        "CREATE TRIGGER refuse_symbol BEFORE INSERT ON SCHEMA.raw_trades_closed FOR EACH ROW"
        " EXECUTE FUNCTION SCHEMA.refuse_symbol()"
    )


def _of_few_symbols() -> World:
    def restricted(trade: Trade) -> Trade:
        if trade.account_id == TRADES_US30 and trade.position.endswith(("1", "2", "3")):
            return replace(trade, symbol="US30")
        return replace(trade, symbol="EURUSD") if trade.symbol == "US30" else trade

    return world(in_parts=IN_PARTS, change=restricted)


NARROW_KEYS = Shape(
    name="narrow keys",
    schema="reporting",
    tables=tuple(_narrow_keys()),
    world=_of_few_symbols,
    narrow={
        Endpoint.ALLTIME: (("login",),),
        Endpoint.DAILY: (("login", "date"),),
        Endpoint.CLOSED: (("login", "platform", "position", "trade_date"),),
    },
)

# Numeric logins
# ------------------------------------------------------------------------------------------------------

NUMERIC_LOGINS = Shape(
    name="numeric logins",
    schema="mt_data",
    tables=(
        *(
            raw_table(
                endpoint,
                f"PRIMARY KEY ({unit})",
                types={"login": "bigint NOT NULL"},
                partition_by=(
                    f"RANGE ({TABLES[endpoint].date_column})" if endpoint in DATED else None
                ),
            )
            for endpoint, unit in _UNITS.items()
        ),
        *(statement for endpoint in DATED for statement in monthly_partitions(endpoint, DAYS)),
    ),
    world=lambda: world(numeric_logins=True),
)

SHAPES = (
    HERITAGE,
    OTHER_TYPES,
    NO_KEYS,
    OTHER_PARTITIONS,
    SERVICE_ROLE,
    NARROW_KEYS,
    NUMERIC_LOGINS,
)


def colliding_keys(
    shape: Shape, endpoint: Endpoint, rows: Collection[dict[str, object]]
) -> frozenset[str]:
    """Our keys, as the witness writes them, of the rows (by column) that share a unique key of the
    shape's own with another row.
    """
    found: set[str] = set()
    for narrow in shape.narrow.get(endpoint, ()):
        groups: dict[tuple[object, ...], list[str]] = {}
        for row in rows:
            text = " ".join(
                "" if row[column] is None else str(row[column]) for column in TABLES[endpoint].key
            )
            groups.setdefault(tuple(row[column] for column in narrow), []).append(text)
        found.update(key for keys in groups.values() if len(keys) > 1 for key in keys)
    return frozenset(found)
