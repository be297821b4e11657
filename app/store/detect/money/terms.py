"""Chooses the amounts and relations to compare."""

from dataclasses import dataclass

from app.domain.accounts.money import (
    MoneyMode,
    Side,
)
from app.domain.contract.tables import TABLES
from app.store.database.pool import Database
from app.store.detect.money.columns import ENDPOINTS, NO_COLUMNS, MoneyColumns
from app.store.schema.raw.catalogue import Catalogue
from app.telemetry import get_logger

_log = get_logger(__name__)
_COVERED = {
    Side.DAILY: (
        ("account_id", "date", "num_trades", "login", "platform", "broker"),
        ("net_profit", "total_lots"),
    ),
    Side.HOURLY: (("account_id", "date", "num_trades", "login"), ("net_profit", "total_lots")),
    Side.CLOSED: (("account_id", "trade_date", "login", "platform", "broker"), ("profit", "lots")),
}
"""Columns an index must cover, for counts and amounts."""
_LARGE_TABLE = 2**30
"""Above this, index-only reading matters."""


@dataclass(frozen=True, slots=True)
class MoneyTerms:
    """Relations to use, and available amounts."""

    mode: MoneyMode
    columns: MoneyColumns

    @classmethod
    def of(cls, mode: MoneyMode, catalogue: Catalogue) -> "MoneyTerms":
        """All amounts of a catalogue."""
        return cls(mode, NO_COLUMNS if mode.is_off else MoneyColumns.of(catalogue))

    @classmethod
    async def read(cls, mode: MoneyMode, catalogue: Catalogue, database: Database) -> "MoneyTerms":
        """The terms of this warehouse; without named relations costly amounts are left out."""
        terms = cls.of(mode, catalogue)
        if mode.relations is not None:
            return terms
        tables = {TABLES[ENDPOINTS[side]].name: side for side in _COVERED}
        rows = await database.fetch(
            database.queries("detect/money/terms")["get_costly_tables"],
            list(tables),
            [",".join(counts) for counts, _ in _COVERED.values()],
            [",".join(amounts) for _, amounts in _COVERED.values()],
            _LARGE_TABLE,
        )
        costly = {tables[row["table_name"]] for row in rows}
        if costly:
            _log.warning(
                "Amounts of large tables are not compared, since no index holds them beside the"
                " counts, so that all rows would be read: build the indexes of"
                " docs/explanation/scale.md and start again, or name relations in RECON_MONEY.",
                action="money.costly",
                tables=sorted(row["table_name"] for row in rows),
            )
        left = {
            place: value for place, value in terms.columns.values.items() if place[0] not in costly
        }
        return cls(mode, MoneyColumns(left, terms.columns.reals))
