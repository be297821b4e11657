"""The counts of an account's rows."""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from app.domain.contract.tables import METRICS, TABLES
from app.domain.ids import Login

_METRICS = frozenset(TABLES[endpoint].name for endpoint in METRICS)


@dataclass(frozen=True, slots=True)
class Totals:
    """The trades that each table counts."""

    has_alltime: bool
    alltime: int
    has_daily: bool
    daily: int
    has_hourly: bool
    hourly: int
    has_closed: bool
    closed: int

    @property
    def counts(self) -> dict[str, int]:
        """Trades by table name."""
        return {
            "raw_metrics_alltime": self.alltime,
            "raw_metrics_daily": self.daily,
            "raw_metrics_hourly": self.hourly,
            "raw_trades_closed": self.closed,
        }


@dataclass(frozen=True, slots=True)
class DayCounts:
    """Each table's trades on a disagreeing date."""

    date: dt.date
    daily: int
    hourly: int
    closed: int
    daily_rows: int
    hourly_rows: int


@dataclass(frozen=True, slots=True)
class IdentityFinding:
    """Rows of a natural key with a missing (None) or foreign `holder`."""

    table: str
    login: Login
    platform: str
    broker: str
    holder: str | None
    candidates: tuple[str, ...]
    rows: int
    dates: tuple[dt.date, ...]

    @property
    def is_of_metrics(self) -> bool:
        """Whether metrics stand under another's real id."""
        return self.holder is not None and self.table in _METRICS and not self._is_of_placeholder

    @property
    def _is_of_placeholder(self) -> bool:
        """Empty, the login, or an MD5 of the natural key."""
        keys = [
            f"{self.login}|{self.platform}|{self.broker}",
            *([f"{self.login}|{self.platform}"] if not self.broker else []),
        ]
        md5s = (hashlib.md5(key.encode(), usedforsecurity=False).hexdigest() for key in keys)
        return self.holder in ("", self.login) or (self.holder or "").lower() in md5s

    def shown(self) -> dict[str, object]:
        """As reports show it, without dates."""
        return {
            "table": self.table,
            "login": self.login,
            "platform": self.platform,
            "broker": self.broker,
            "account_id": self.holder,
            "candidates": list(self.candidates),
            "rows": self.rows,
        }


@dataclass(frozen=True, slots=True)
class OddRows:
    """Rows with impossible dates, in no count."""

    table: str
    rows: int
    samples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """What an audit found: figures of both sides, or that upstream lacks the account (`absent`).

    `daily_agrees`: stored daily rows match upstream's total, so only alltime is stale.
    """

    absent: bool
    evidence: Mapping[str, object]
    daily_agrees: bool = False


@dataclass(frozen=True, slots=True)
class CountedDay:
    """Upstream's daily figures; None: unknown."""

    trades: int
    net_profit: Decimal | None = None
    total_lots: Decimal | None = None
