"""Resolves metrics rows sent without account id.

Staged under their key's placeholder, they go to the only account known to hold the key on that
date, if there is one; otherwise the placeholder stays, possibly an account itself.
"""

import uuid
from collections.abc import Sequence

from app.domain.contract.tables import METRICS, Endpoint
from app.store.database.pool import Database
from app.store.database.queries import fill, quote
from app.store.database.session import COMMAND_SECONDS
from app.store.schema.raw.catalogue import Catalogue
from app.store.schema.raw.tables import WarehouseTable
from app.store.staging.names.stored_keys import StoredKeys


class UnnamedRows:
    """Resolves staged metrics rows."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database = database
        sql = database.queries("staging/names/unnamed")
        self._stored_keys = StoredKeys(database)
        self._name = {
            endpoint: fill(sql["name_staged_rows"], **_tokens(catalogue[endpoint]))
            for endpoint in METRICS
        }
        self._holds_key = {
            endpoint: fill(sql["holds_key_of"], stage=catalogue[endpoint].stage)
            for endpoint in METRICS
        }

    async def name(
        self, endpoint: Endpoint, fetch_id: uuid.UUID, account_ids: Sequence[str], *, by_id: bool
    ) -> None:
        """Resolve rows for these accounts (none: all), asked `by_id` or not."""
        stored = await self._stored_keys.fetch(account_ids)
        columns = [
            [row[name] for row in stored]
            for name in ("account_id", "login", "platform", "broker", "first_day")
        ]
        asked = list(account_ids) if by_id else None
        await self._database.execute(
            self._name[endpoint], fetch_id, asked, *columns, seconds=COMMAND_SECONDS
        )

    async def hold_key_of(
        self, endpoint: Endpoint, fetch_id: uuid.UUID, account_ids: Sequence[str]
    ) -> bool:
        """Whether unresolved rows have a key of these accounts."""
        return bool(
            await self._database.fetch_value(self._holds_key[endpoint], fetch_id, list(account_ids))
        )


def _tokens(table: WarehouseTable) -> dict[str, str]:
    others = [quote(column) for column in table.table.key if column != "account_id"]
    day = table.table.date_column
    on_date = "u.day BETWEEN h.valid_from AND h.valid_to OR u.day >= h.open_from"
    return {
        "stage": table.stage,
        "day": quote(day) if day else "NULL::date",
        "others": "".join(f", {column}" for column in others),
        "same_key": "".join(f" AND own.{column} = u.{column}" for column in others),
        "holds": on_date if day else "h.valid_to = 'infinity' OR h.open_from IS NOT NULL",
    }
