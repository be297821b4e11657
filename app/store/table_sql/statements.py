"""The statements of a module, composed for each raw table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, ClassVar, Protocol

from app.domain.contract.tables import Endpoint
from app.store.database.queries import fill, quote, require_known
from app.store.database.window import ALL_DATES, Window
from app.store.schema.introspect import UniqueKey
from app.store.schema.raw.catalogue import Catalogue
from app.store.schema.raw.tables import WarehouseTable
from app.store.table_sql.losses import LossSql
from app.store.table_sql.slices import SliceSql
from app.store.table_sql.table import TableSql
from app.store.table_sql.values import ValueSql, losses_of

_KEPT = 512


class Tokens(Protocol):
    """A dataclass whose attributes fill the tokens of their names."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowKeySql:
    """A unique key that two rows of upstream may share."""

    narrow: str
    s_narrow: str
    """The same of `s`, without the account id."""
    narrow_filled: str
    """`s` has no NULL that the key would take for different."""
    same_narrow: str
    """`t` and picked `r` are equal in it."""


def names_of(*kinds: type[Tokens]) -> tuple[str, ...]:
    """The tokens of such dataclasses."""
    return tuple(field.name for kind in kinds for field in fields(kind))


def values_of(*tokens: Tokens) -> dict[str, str]:
    """Tokens with their SQL."""
    return {name: value for each in tokens for name, value in asdict(each).items()}


@lru_cache(maxsize=64)
def table_tokens(
    table: WarehouseTable, window: Window = ALL_DATES, *, has_unsent: bool = False
) -> Mapping[str, str]:
    """All tokens of a table."""
    return values_of(
        TableSql.of(table, window),
        SliceSql.of(table, window),
        ValueSql.of(table, has_unsent=has_unsent),
        losses_of(table, has_unsent=has_unsent),
    )


def narrow_key(key: UniqueKey) -> NarrowKeySql:
    """The tokens of a unique key."""
    equal = "IS NOT DISTINCT FROM" if key.nulls_are_equal else "="
    columns = [quote(column) for column in key.columns]
    return NarrowKeySql(
        narrow=", ".join(columns),
        s_narrow=", ".join(f"s.{column}" for column in columns if column != '"account_id"')
        or "NULL",
        narrow_filled=(
            "true"
            if key.nulls_are_equal
            else " AND ".join(f"s.{column} IS NOT NULL" for column in columns)
        ),
        same_narrow=" AND ".join(f"t.{column} {equal} r.{column}" for column in columns),
    )


class Statements:
    """One file's statements, each composed once a table: that costs a small query."""

    def __init__(
        self,
        sql: Mapping[str, str],
        catalogue: Catalogue,
        window: Window = ALL_DATES,
        *,
        further: Sequence[str] = (),
    ) -> None:
        """`further` tokens are given to `of`; others that no table has raise KeyError."""
        require_known(sql, (*names_of(TableSql, SliceSql, ValueSql, LossSql), *further))
        self.window = window
        self._sql = sql
        self._catalogue = catalogue
        self._composed = lru_cache(_KEPT)(self._compose)

    def __getitem__(self, name: str) -> str:
        """A statement without tokens."""
        return self._sql[name]

    def of(
        self, name: str, table: WarehouseTable, *, has_unsent: bool = False, **further: str
    ) -> str:
        """A statement for a table; `has_unsent`: rows may lack columns."""
        return self._composed(name, table.table.endpoint, has_unsent, tuple(further.items()))

    def token(self, name: str, table: WarehouseTable) -> str:
        """A token's SQL, for complete rows."""
        return table_tokens(table, self.window)[name]

    def _compose(
        self,
        name: str,
        endpoint: Endpoint,
        has_unsent: bool,  # noqa: FBT001 - a key of the cache
        further: tuple[tuple[str, str], ...],
    ) -> str:
        tokens = table_tokens(self._catalogue[endpoint], self.window, has_unsent=has_unsent)
        return fill(self._sql[name], **tokens, **dict(further))
