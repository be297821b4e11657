"""Natural keys: platform, broker and login."""

import hashlib
from dataclasses import dataclass
from typing import Self

from app.store.schema.raw.tables import WarehouseTable


@dataclass(frozen=True, slots=True)
class NaturalKeys:
    """Natural keys as three parallel arrays."""

    logins: list[str]
    platforms: list[str]
    brokers: list[str]

    @classmethod
    def of(cls, keys: set[tuple[str, ...]]) -> Self:
        """From tuples of login, platform, broker."""
        ordered = sorted(keys)
        return cls(
            [key[0] for key in ordered], [key[1] for key in ordered], [key[2] for key in ordered]
        )

    @property
    def arrays(self) -> tuple[list[str], list[str], list[str]]:
        """The arrays in the order of parameters."""
        return self.logins, self.platforms, self.brokers

    def placeholders(self) -> list[str]:
        """Possible stand-ins: MD5 in each spelling, and logins."""
        keys = [*zip(*self.arrays, strict=True)]
        # A key without a broker was also written without its last separator.
        written = ["|".join(key) for key in keys] + [
            "|".join(key[:2]) for key in keys if not key[2]
        ]
        md5s = {hashlib.md5(each.encode(), usedforsecurity=False).hexdigest() for each in written}
        return sorted({*md5s, *(md5.upper() for md5 in md5s), *self.logins})


def first_trade(alltime: WarehouseTable) -> str:
    """Expression for the first trade date in alltime; NULL without column."""
    return "first_trade_date::date" if "first_trade_date" in alltime.names else "NULL::date"
