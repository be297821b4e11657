"""Restores leading zeros of logins sent as numbers, from known spellings.

One statement per affected page; unknown logins stay as sent.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

from app.domain.contract.spelling import chosen_login, numbered_key, with_login
from app.domain.ids import Login
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.staging.names.stored_keys import StoredKeys


class KnownLogins:
    """Looks up spellings by account and natural key."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.queries("staging/names/known_logins")
        self._known = sql["get_known_logins"]
        self._stored_keys = StoredKeys(database)

    async def restored(
        self, rows: Sequence[bytes], asked: Collection[str] = ()
    ) -> list[bytes | None]:
        """Rows with restored logins; None for ambiguous ones. `asked` are requested logins."""
        keys = [numbered_key(row) for row in rows]
        numbered = sorted({key for key in keys if key is not None})
        if not numbered:
            return list(rows)
        own: defaultdict[str, list[str]] = defaultdict(list)
        held: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
        columns = [list(column) for column in zip(*numbered, strict=True)]
        for known in await self._database.fetch(self._known, *columns, seconds=COMMAND_SECONDS):
            if known["account_id"] is not None:
                own[known["account_id"]].append(known["known"])
            else:
                held[known["login"], known["platform"], known["broker"]].append(known["known"])
        # Accounts without alltime and daily rows are found by their other rows.
        unknown = sorted({key.account_id for key in numbered if key.account_id} - own.keys())
        if unknown:
            for stored in await self._stored_keys.fetch(unknown):
                own[stored["account_id"]].append(stored["login"])
        logins = {key: chosen_login(key, own, held, asked) for key in numbered}
        restored: list[bytes | None] = []
        for row, key in zip(rows, keys, strict=True):
            login = None if key is None else logins[key]
            restored.append(
                row
                if key is None or login == key.login
                else None
                if login is None
                else with_login(row, Login(login))
            )
        return restored
