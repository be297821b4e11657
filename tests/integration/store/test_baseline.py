"""The baseline makes what the migrations made that it replaces: in an empty database, beside all of
an earlier system or a part of it, and under another owner's tables.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from app.adoption import print_advice
from app.sandbox.witness.raw_sql import quoted
from app.settings.model import Settings
from app.store.schema.migrations.files import BASELINE, later_files, replaced_files
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Server
from tests.support.scripts import statements
from tests.support.warehouses.building import Place, execute, new_database
from tests.support.warehouses.catalogue import dump_schema
from tests.support.warehouses.earlier_version import migrate_as_before
from tests.support.warehouses.heritage import FORMS, GRANTS, OLD_OBJECTS, SCHEMA
from tests.support.warehouses.way_back import ROWS
from tests.warehouses.earlier_migration import earlier_migration

_REPLACED = "8379f4d11a062acc445c7a8146a963fe573ad41e30103b076a831ee456f72e6e"
_HERITAGE = FORMS["text tickets, partitioned"]
_COMMENT = re.compile(r'"COMMENT ON FUNCTION \w+\.update_trade_recon_stats[^"]*"(, )?')
_DASHBOARD = "CREATE VIEW SCHEMA.theirs AS SELECT * FROM SCHEMA.mv_all_account_ids"


@dataclass(frozen=True, slots=True)
class Stands:
    """What stands in the schema before trade-recon, and whether it comes as a role of its own."""

    statements: tuple[str, ...]
    schema: str = SCHEMA
    as_role: bool = False


_BEFORE: Mapping[str, Stands] = {
    "nothing": Stands(()),
    "nothing, in a schema of another name": Stands((), schema="Other_1"),
    "the earlier system with hourly rows in one table": Stands(
        (*FORMS["integer tickets, plain hourly"], *OLD_OBJECTS, *GRANTS, ROWS)
    ),
    "the earlier system with views on its list": Stands(
        (*_HERITAGE, *OLD_OBJECTS, *GRANTS, _DASHBOARD)
    ),
    "the earlier system's newest migration": Stands(
        (*_HERITAGE, *earlier_migration("acct", "text"))
    ),
    "the earlier system's function without a name for its argument": Stands(
        (*_HERITAGE, *earlier_migration(""))
    ),
    "raw tables alone": Stands(_HERITAGE),
    "its record alone": Stands((OLD_OBJECTS[0], ROWS)),
    "two raw tables": Stands(
        tuple(
            statement
            for statement in _HERITAGE
            if re.search(
                r"raw_metrics_alltime|raw_trades_closed|fill_missing_account\(\) RE", statement
            )
        )
    ),
    "the earlier system of another owner": Stands(
        (*_HERITAGE, *OLD_OBJECTS, *GRANTS, ROWS), as_role=True
    ),
    "nothing, and a role that owns nothing": Stands((), as_role=True),
}


@asynccontextmanager
async def _place(postgres: Server, before: Stands) -> AsyncIterator[Place]:
    async with new_database(postgres, before.schema, as_role=before.as_role) as place:
        await execute(place, before.statements)
        if before.as_role:
            settings = Settings(database_url=SecretStr(place.owner.dsn), recon_schema=before.schema)
            await execute(place, statements(await print_advice(settings, place.role)))
        try:
            yield place
        finally:
            async with place.owner.connect() as connection:
                await connection.execute(f'DROP OWNED BY "{place.role}" CASCADE')


async def _made(place: Place) -> dict[str, set[str]]:
    """The catalogue of the schema, the same whatever its role is called."""
    async with place.owner.connect() as connection:
        found = await dump_schema(connection, place.owner.schema)
    return {
        name: {_alike(name, line.replace(place.role, "ROLE")) for line in lines}
        for name, lines in found.items()
    }


def _alike(name: str, line: str) -> str:
    """The line without the three differences that there are.

    A table that the baseline made has no row to check, so its CHECKs are validated at once. A
    partition that is made once its table has all indexes gets their comments, as those of later
    months do. The replaced migrations lost a comment where the earlier system's function takes a
    text.
    """
    if name in ("recon_runs", "recon_attempts"):
        return line.replace(' NOT VALID", false', '", true')
    if name == "update_trade_recon_stats":
        return line.replace('"recomputes the totals and the checksum of one account"', "null")
    if re.fullmatch(r"raw_\w+_\d{4}_\d{2}_\w+_idx", name):
        return re.sub(r'"(touched|detection and identity): [^"]*"', "null", line)
    return line


async def _rows(place: Place) -> dict[str, list[str]]:
    """What the tables of ours hold, but for times and the order of objects."""
    schema = quoted(place.owner.schema)
    left_out = "{applied_at,noted_at,drawn_at,kept_at,made,created_at}"
    async with place.owner.connect() as connection:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = quote_ident($1)::regnamespace AND"
            " relkind = 'r' AND relname ~ 'recon' AND relname <> 'recon_migrations'",
            place.owner.schema,
        )
        found = {
            row["relname"]: [
                _COMMENT.sub("", each[0].replace(place.role, "ROLE"))
                for each in await connection.fetch(
                    f"SELECT (to_jsonb(t) - '{left_out}'::text[])::text FROM {schema}.{row['relname']} AS t"
                    " ORDER BY 1"
                )
            ]
            for row in tables
        }
        names = await connection.fetch(
            f"SELECT name, adopted FROM {schema}.recon_migrations ORDER BY 1"
        )
        found["recon_migrations"] = [str(tuple(row)) for row in names if row["name"] != BASELINE]
    return found


@pytest.mark.parametrize("before", _BEFORE)
async def test_the_baseline_makes_what_the_replaced_migrations_made(
    postgres: Server, before: str
) -> None:
    stands = _BEFORE[before]
    async with _place(postgres, stands) as new, _place(postgres, stands) as old:
        applied = await migrate(new.database.dsn, stands.schema)
        assert applied == [BASELINE, *(path.stem for path in later_files())]
        await migrate_as_before(old.database.dsn, stands.schema)
        assert await migrate(old.database.dsn, stands.schema) == [
            path.stem for path in later_files()
        ]
        by_baseline, by_replaced = await _made(new), await _made(old)
        assert by_baseline.keys() == by_replaced.keys()
        assert {
            name: (lines - by_replaced[name], by_replaced[name] - lines)
            for name, lines in by_baseline.items()
            if lines != by_replaced[name]
        } == {}
        assert await _rows(new) == await _rows(old)


def test_a_replaced_migration_is_never_altered() -> None:
    """Databases that lack some of them get what others got."""
    digest = hashlib.sha256()
    for path in replaced_files():
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    assert digest.hexdigest() == _REPLACED
