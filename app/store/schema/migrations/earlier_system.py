"""An earlier system's objects: announced, then put aside or copied."""

from collections.abc import Mapping, Sequence

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.wording.counts import choose, counted
from app.errors import DatabaseError, RowRefused
from app.store.database.pool import Database
from app.store.database.queries import fill, load_queries, quote
from app.store.database.transaction import Connection
from app.store.schema.definitions import TAKEN_OVER
from app.store.schema.introspect import STATE_TABLE, Survey
from app.store.schema.preflight_state import unmet_sentence
from app.store.schema.state_rows import STATE_TYPES

_MAY_BE_EMPTY = frozenset({"account_id", "last_checked", "last_reconciled", "last_failed_attempt"})
_FIRST = 17
_ALLTIME = TABLES[Endpoint.ALLTIME].name


async def foretell(connection: Connection, schema: str, survey: Survey) -> list[str]:
    """Sentences on what the first migration will change."""
    sql = load_queries("schema/migrations/earlier_system", schema)
    told = [
        f"The {row['what']} {row['name']} of an earlier system will be put aside under another"
        " name; what stands on it goes on."
        for row in await connection.fetch(sql["list_objects"], list(TAKEN_OVER))
    ]
    state = await connection.fetch_row(sql["describe_state"])
    if state is not None:
        told += await _foretell_state(connection, sql, state["columns"], survey)
        if state["triggers"]:
            told.append(
                f"The triggers of {STATE_TABLE} stay and fire on trade-recon's writes, too:"
                f" {', '.join(state['triggers'])}."
            )
    return told


async def _foretell_state(
    connection: Connection, sql: Mapping[str, str], columns: list[str], survey: Survey
) -> list[str]:
    rows = await connection.fetch_row(fill(sql["count_state_rows"], empty=_empty(columns)))
    if rows is None:
        return []
    count, filled = rows["rows"], rows["filled"]
    added = [name for name in STATE_TYPES if name not in columns]
    kept = (
        f"{STATE_TABLE} keeps its {counted(count, 'row')} and gets the columns {', '.join(added)};"
        f" in {counted(filled, 'row')} what is empty becomes 0, false or an empty list. A copy of"
        " it as it is now will stand in recon_earlier_trade_recon, for `trade-recon uninstall"
        " --print`."
    )
    told = [kept]
    if _ALLTIME in survey.tables:
        stand_ins = await _stand_ins(connection, sql)
        if stand_ins:
            told.append(
                f"{counted(stand_ins, 'row')} of {STATE_TABLE} {choose(stand_ins, 'is', 'are')}"
                " under ids that stand in for unknown ones (a login, the MD5 of a natural key):"
                " maintenance drops those that are no account's from it."
            )
    told.append(
        f"Entries of {STATE_TABLE}.issues are replaced by trade-recon's own as runs check their"
        " accounts."
    )
    return told


def _empty(columns: Sequence[str]) -> str:
    """The condition that a row has a NULL to fill."""
    known = [
        name for name in list(STATE_TYPES)[:_FIRST] if name in columns and name not in _MAY_BE_EMPTY
    ]
    conditions = [f"{quote(name)} IS NULL" for name in known]
    conditions += ["jsonb_typeof(issues) <> 'array'"] if "issues" in columns else []
    return " OR ".join(conditions) or "false"


async def _stand_ins(connection: Connection, sql: Mapping[str, str]) -> int:
    try:
        async with connection.savepoint():
            return int(await connection.fetch_value(sql["count_stand_ins"]))
    except (DatabaseError, RowRefused):
        return 0  # unusual columns, which the survey reports


async def unmet(
    database: Database | Connection, schema: str, survey: Survey, *, before_migration: bool
) -> list[str]:
    """NOT VALID constraints of trade_recon broken by its rows, as parts of a sentence.

    `before_migration`: by rows that it writes, as others affect their account alone.
    """
    state, sql = (
        survey.tables.get(STATE_TABLE),
        load_queries("schema/migrations/earlier_system", schema),
    )
    written = _empty([*state.by_name]) if state is not None and before_migration else "true"
    told = []
    for check in (state.checks if state is not None and state.kind == "r" else None) or ():
        if not check.holds_for_all:
            rows = await database.fetch_value(
                fill(sql["count_unmet"], condition=check.condition, written=written)
            )
            told += [unmet_sentence(check.name, check.condition, rows)] if rows else []
    return told


async def list_aside(connection: Connection, schema: str) -> list[str]:
    """Objects put aside, with their kinds."""
    rows = await connection.fetch(
        load_queries("schema/migrations/earlier_system", schema)["list_aside"]
    )
    return [f"{row['what']} {row['name']}" for row in rows]


async def keep_state(connection: Connection, schema: str) -> bool:
    """Copy the earlier trade_recon; whether it exists."""
    sql = load_queries("schema/migrations/earlier_system", schema)
    if await connection.fetch_row(sql["describe_state"]) is None:
        return False
    path = await connection.fetch_value("SELECT current_setting('search_path')")
    # So that defaults are copied with their schemas.
    await connection.execute("SELECT set_config('search_path', 'pg_catalog', true)")
    for statement in sql["keep_state"].split(";\n"):
        await connection.execute(statement)
    await connection.execute("SELECT set_config('search_path', $1, true)", path)
    return True
