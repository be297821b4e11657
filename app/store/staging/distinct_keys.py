"""Counts distinct keys, which prove a fetch."""

from app.store.database.pool import Database
from app.store.database.queries import fill, quote
from app.store.schema.raw.catalogue import Catalogue
from app.store.schema.raw.tables import STAGED, WarehouseTable
from app.store.staging.staged_fetch import StagedFetch
from app.store.staging.staging_sql import NATURAL_KEY


class DistinctKeys:
    """Counts staged keys."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database = database
        self._catalogue = catalogue
        sql = database.queries("staging/distinct_keys")
        self._count = {
            endpoint: fill(sql["count_distinct_keys"], **_tokens(catalogue[endpoint]))
            for endpoint in STAGED
        }
        self._tally = {
            endpoint: fill(sql["tally_keys"], **_tokens(catalogue[endpoint])) for endpoint in STAGED
        }

    async def count(self, staged: StagedFetch, behind: int = 0) -> int:
        """Distinct keys after ordinal `behind`; unreadable keys count by text."""
        if not behind and await self._are_distinct(staged):
            return staged.rows
        statement = self._count[staged.endpoint]
        return int(await self._database.fetch_value(statement, staged.fetch_id, behind))

    async def _are_distinct(self, staged: StagedFetch) -> bool:
        """Whether all staged keys are distinct; also keeps dates and accounts of the fetch, which
        the same statement tells.
        """
        table = self._catalogue[staged.endpoint]
        sets = _sets(table)
        rows = await self._database.fetch(self._tally[staged.endpoint], staged.fetch_id)
        # Each grouping set contains every key once.
        staged.is_distinct = sum(row["keys"] for row in rows) == staged.rows * len(sets)
        if staged.is_distinct and "account_id" in sets:
            staged.accounts = {
                row["account_id"]: row["keys"] for row in rows if row["account_id"] is not None
            }
        staged.days = (
            frozenset(row["day"] for row in rows if row["day"] is not None)
            if "day" in sets
            else frozenset()
        )
        return staged.is_distinct


def _sets(table: WarehouseTable) -> list[str]:
    """Grouping sets of the count."""
    return [
        *(["account_id"] if "account_id" in table.key else []),
        *(["day"] if table.table.date_column is not None else []),
    ]


def _tokens(table: WarehouseTable) -> dict[str, str]:
    # Rows of an id shared by two natural keys have one key of ours, yet are distinct.
    natural = [name for name in NATURAL_KEY if name not in table.key and name in table.names]
    date, sets = table.table.date_column, _sets(table)
    return {
        "stage": table.stage,
        "key": ", ".join(quote(column) for column in (*table.key, *natural)),
        "key_and_day": ", ".join(
            f"{quote(column)} AS day" if column == date else quote(column) for column in table.key
        ),
        "has_whole_key": " AND ".join(
            f"{quote(column)} IS NOT NULL" for column in table.key if column not in table.optional
        ),
        "sets": ", ".join(sets),
        "grouping_sets": ", ".join(f"({name})" for name in sets),
    }
