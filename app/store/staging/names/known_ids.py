"""Restores account ids sent in other case or with invisible characters.

One statement per affected page.
"""

from collections import defaultdict
from collections.abc import Sequence

from app.domain.contract.spelling import AskedIds, key_of, same_but_for_zeros, with_id
from app.domain.ids import AccountId
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS


class KnownIds:
    """Looks up requested ids."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys_of = database.queries("staging/names/known_ids")["get_account_keys"]

    async def restored(self, rows: Sequence[bytes], asked: AskedIds) -> list[bytes]:
        """Rows with ids as requested.

        Ids may differ in case alone, so known natural keys of the account must match.
        """
        meant = [asked.meant(row) for row in rows]
        wanted = sorted({each for each in meant if each is not None})
        if not wanted:
            return list(rows)
        keys: defaultdict[str, set[tuple[str, str, str]]] = defaultdict(set)
        for known in await self._database.fetch(self._keys_of, wanted, seconds=COMMAND_SECONDS):
            keys[known["account_id"]].add((known["login"], known["platform"], known["broker"]))
        return [
            row if each is None or not _is_of(row, keys[each]) else with_id(row, AccountId(each))
            for row, each in zip(rows, meant, strict=True)
        ]


def _is_of(row: bytes, keys: set[tuple[str, str, str]]) -> bool:
    sent = key_of(row)
    logins = [
        login
        for login, platform, broker in keys
        if (platform, broker) == (sent.platform, sent.broker)
    ]
    return not keys or bool(same_but_for_zeros(sent.login, logins))
