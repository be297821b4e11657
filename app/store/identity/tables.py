"""The raw tables whose rows carry account ids, and the dates on which these are repaired."""

from app.domain.contract.tables import TABLES, Endpoint, Table
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import values_of
from app.store.table_sql.table import TableSql

TRADES = (TABLES[Endpoint.CLOSED], TABLES[Endpoint.OPEN])
DAILY = TABLES[Endpoint.DAILY]
ALLTIME = TABLES[Endpoint.ALLTIME]
METRICS = (ALLTIME, DAILY, TABLES[Endpoint.HOURLY])


def tokens_of(catalogue: Catalogue, table: Table, window: Window) -> dict[str, str]:
    """The tokens of a table for the dates on which its ids are repaired: open trades are no
    history.
    """
    of = ALL_DATES if table.endpoint is Endpoint.OPEN else window
    return values_of(TableSql.of(catalogue[table.endpoint], of))
