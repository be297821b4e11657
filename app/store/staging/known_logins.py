"""Logins that upstream sends as numbers, which have lost their leading zeros: how they are spelled
where they are known.

One statement a page, and only where a page has such logins; a login that is known nowhere is taken
as it was sent.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

from app.domain.contract.spelling import chosen_login, numbered_key, with_login
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.staging.stored_keys import StoredKeys


class KnownLogins:
    """Finds the spelling of logins by the accounts and natural keys that the warehouse knows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.queries("staging/known_logins")
        self._known = sql["get_known_logins"]
        self._stored_keys = StoredKeys(database)

    async def restored(
        self, rows: Sequence[bytes], asked: Collection[str] = ()
    ) -> list[bytes | None]:
        """The rows with the known spelling of logins that came as numbers; None for a row whose
        login may stand for several.

        `asked` are the logins that were asked for, if any.
        """
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
        # Of accounts that have neither alltime nor daily rows their other rows tell.
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
                else with_login(row, login)
            )
        return restored
