"""Raw tables with account ids."""

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
    """Table tokens; the window does not apply to open trades."""
    of = ALL_DATES if table.endpoint is Endpoint.OPEN else window
    return values_of(TableSql.of(catalogue[table.endpoint], of))
