"""Account ids that upstream sends in another case or with invisible characters for a while: how
they are spelled where they are known.

One statement a page, and only where a page has such ids.
"""

from collections import defaultdict
from collections.abc import Sequence

from app.domain.contract.spelling import AskedIds, key_of, same_but_for_zeros, with_id
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS


class KnownIds:
    """Finds the spelling of account ids by those that were asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys_of = database.queries("staging/known_ids")["get_account_keys"]

    async def restored(self, rows: Sequence[bytes], asked: AskedIds) -> list[bytes]:
        """The rows with the ids that were asked for in place of other spellings of them.

        Ids may differ in case alone: only a row with a natural key that the account is known by, if
        it is by any, is taken for its own.
        """
        meant = [asked.meant(row) for row in rows]
        wanted = sorted({each for each in meant if each is not None})
        if not wanted:
            return list(rows)
        keys: defaultdict[str, set[tuple[str, str, str]]] = defaultdict(set)
        for known in await self._database.fetch(self._keys_of, wanted, seconds=COMMAND_SECONDS):
            keys[known["account_id"]].add((known["login"], known["platform"], known["broker"]))
        return [
            row if each is None or not _is_of(row, keys[each]) else with_id(row, each)
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
