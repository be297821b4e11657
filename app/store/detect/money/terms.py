"""Which relations between amounts are used in this warehouse."""

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
"""Columns that an index needs for the counts of a table, and for its amounts."""
_LARGE_TABLE = 2**30
"""From this size on it matters whether all rows are read or an index alone."""


@dataclass(frozen=True, slots=True)
class MoneyTerms:
    """The relations to use (`mode`), and the amounts that the tables hold."""

    mode: MoneyMode
    columns: MoneyColumns

    @classmethod
    def of(cls, mode: MoneyMode, catalogue: Catalogue) -> "MoneyTerms":
        """For a warehouse."""
        return cls(mode, NO_COLUMNS if mode.is_off else MoneyColumns.of(catalogue))

    @classmethod
    async def read(cls, mode: MoneyMode, catalogue: Catalogue, database: Database) -> "MoneyTerms":
        """The terms; costly amounts are used only where relations are named."""
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
