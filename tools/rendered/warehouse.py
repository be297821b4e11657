"""The raw tables of a fresh install, as far as statements are composed from them, without a
database.
"""

from collections.abc import Mapping
from typing import cast

from app.domain.contract.tables import TABLES, Endpoint, Field, Table
from app.store.database.pool import Database
from app.store.database.queries import WRITTEN_SCHEMA, load_queries
from app.store.database.window import Window
from app.store.schema.introspect import ColumnFacts, TableFacts, UniqueKey
from app.store.schema.raw.catalogue import Catalogue, warehouse_table

_CATALOGUE_NAMES = {
    "double": "double precision",
    "varchar": "character varying",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
}


class _Files:
    """What composes statements asks of a database: their text."""

    schema = WRITTEN_SCHEMA

    def queries(self, name: str, window: Window | None = None) -> Mapping[str, str]:
        sql = load_queries(name, self.schema)
        return sql if window is None else window.of(sql)


def files() -> Database:
    """In place of a database, for what only reads statements."""
    return cast("Database", _Files())


def catalogue() -> Catalogue:
    """The raw tables of a fresh install."""
    return Catalogue(
        {
            endpoint: warehouse_table(endpoint, _facts(TABLES[endpoint]), WRITTEN_SCHEMA)
            for endpoint in Endpoint
        }
    )


def fields_of(table: Table) -> list[Field]:
    """The columns of a table in the order of its migration: a trade's account id stands behind its
    login.
    """
    fields = [*table.fields, *table.own_columns]
    if table.endpoint.is_trades:
        names = [field.column for field in fields]
        fields.insert(names.index("login") + 1, fields.pop(names.index("account_id")))
    return fields


def _facts(table: Table) -> TableFacts:
    return TableFacts(
        table.name,
        "r" if table.date_column is None else "p",
        "owner",
        columns=tuple(
            ColumnFacts(
                field.column,
                field.sql_type,
                _catalogue_name(field.sql_type),
                labels=None,
                not_null=field.column in table.key,
                has_default=False,
                is_written=True,
            )
            for field in fields_of(table)
        ),
        keys=(UniqueKey(f"{table.name}_pkey", table.key, nulls_are_equal=False),),
        missing_rights=(),
        hides_rows=False,
        triggers=(),
        rules=(),
        checks=(),
        denied_sequences=(),
        cascades=(),
        unreplicable_in=(),
        makes_partitions=True,
    )


def _catalogue_name(sql_type: str) -> str:
    """A type as PostgreSQL's catalogue writes it."""
    name, bracket, rest = sql_type.partition("(")
    return _CATALOGUE_NAMES.get(name, name) + bracket + rest
