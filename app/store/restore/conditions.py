"""SQL conditions that judge stored rows beside copies."""

import re

from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.restore.shape import Shape

_COMMENT = re.compile(r"\A(?:--.*\n)+")


class CopyConditions:
    """Conditions on a stored row `t` and a copy `c`.

    Row versions of distributed tables are not comparable with our transactions.
    """

    def __init__(self, database: Database) -> None:
        sql = database.queries("restore/conditions")
        self._stamped, self._is_foreign = part(sql["is_stamped_anew"]), part(sql["is_foreign"])
        self._stood_there, self._beside_as = part(sql["stood_there"]), part(sql["beside_as"])
        self._has_other_values = part(sql["has_other_values"])
        self._same = part(sql["copies_of_account"])
        self._plain_copies = part(sql["plain_copies"])

    def foreign(self, shard: str | None) -> str:
        """Another writer changed the row since."""
        if shard is not None:
            return self._stamped
        return fill(self._is_foreign, stamped=self._stamped, same=self._same)

    def stood_there(self, shard: str | None) -> str:
        """The row stood beside a removed double."""
        return "false" if shard is not None else self._stood_there

    def beside_as(self, shape: Shape) -> str:
        """Reason of another copy's row standing beside this one."""
        if shape.shard is not None:
            return "NULL::text"
        return fill(
            self._beside_as,
            **shape.tokens,
            same=self._same,
            has_other_values=fill(self._has_other_values, values=shape.sent_values),
        )

    def plain_copies(self, ids: str) -> str:
        """Copies by id, each decompressed once."""
        return fill(self._plain_copies, ids=ids)


def part(statement: str) -> str:
    """A statement without its leading comment."""
    return _COMMENT.sub("", statement)
