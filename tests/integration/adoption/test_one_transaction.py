"""The earlier system's migration runs in one transaction before and after trade-recon's, and both
systems go on.
"""

import secrets

import asyncpg
import pytest
from pydantic import SecretStr

from app.adoption import print_advice, print_uninstall
from app.sandbox.witness.raw_sql import in_schema, quoted
from app.settings.model import Settings
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Server
from tests.support.scripts import statements
from tests.support.warehouses.building import Place, execute, new_database, with_setting
from tests.support.warehouses.heritage import SCHEMA, TABLES_OF_HERITAGE
from tests.support.warehouses.way_back import go_back, seen
from tests.warehouses.earlier_migration import earlier_migration

_ROWS = (
    """
INSERT INTO SCHEMA.raw_metrics_alltime (account_id, login, platform, broker, num_trades) VALUES ('a', '7', 8, 1, 5), ('b', '8', 8, 1, 0)
""",
)
_FIGURES = (
    "SELECT num_trades_alltime, num_trades_daily, num_trades_raw_closed, trades_recon_checksum FROM"
    " trade_recon WHERE account_id = 'a'"
)


async def _run_again(place: Place, *statements: str) -> None:
    async with place.owner.connect() as connection, connection.transaction():
        for statement in statements:
            text = in_schema(statement, place.owner.schema).replace(
                "THIS_SCHEMA", quoted(place.owner.schema)
            )
            await connection.execute(text.replace("SERVICE_ROLE", place.role))


async def _is_ours(place: Place) -> bool:
    """Whether the function with the earlier system's name writes what trade-recon counts, which it
    alone does.
    """
    async with place.owner.connect() as connection:
        return bool(
            await connection.fetchval(
                "SELECT prosrc ~ 'mismatched_days' FROM pg_proc WHERE proname ="
                " 'update_trade_recon_stats'"
            )
        )


async def _ask_as_reader(place: Place, call: str) -> tuple[object, ...]:
    """Call the function as a deployment's role does, and read what it wrote."""
    async with place.owner.connect() as connection:
        await connection.execute(call)
        assert await connection.fetchval(
            "SELECT has_function_privilege($1,"
            " 'prop_trading_model.update_trade_recon_stats(varchar)', 'EXECUTE')",
            place.role,
        )
        await connection.fetch("SELECT * FROM get_issue_statistics()")
        await connection.fetch("SELECT * FROM v_reconciliation_progress")
        return tuple(await connection.fetchrow(_FIGURES) or ())


@pytest.mark.parametrize("argument", ["p_account_id", "acct", ""])
async def test_the_earlier_migration_runs_again_before_and_after_ours_and_both_answer(
    postgres: Server, argument: str
) -> None:
    again = earlier_migration(argument)
    call = f"SELECT update_trade_recon_stats({f'{argument} => ' if argument else ''}'a')"
    async with new_database(postgres, SCHEMA) as place:
        await execute(place, (*TABLES_OF_HERITAGE, *_ROWS))
        await _run_again(place, *again)
        await _run_again(place, *again)
        before = await seen(place)
        for _ in range(2):
            await migrate(place.owner.dsn, SCHEMA)
            assert await _is_ours(place)
            assert await _ask_as_reader(place, call) == (5, 0, 0, False)
            await _run_again(place, *again)
            await _run_again(place, *again)
            assert not await _is_ours(place)
            assert await _ask_as_reader(place, call) == (5, None, 0, False)
            assert await _ask_as_reader(place, "SELECT update_trade_recon_stats('a'::text)") == (
                5,
                None,
                0,
                False,
            )
        # What their migration brought back is what was put aside: the way back knows it.
        await go_back(place)
        assert await seen(place) == before


async def test_the_earlier_migration_runs_after_a_fresh_install_and_ours_comes_back(
    postgres: Server,
) -> None:
    async with new_database(postgres, SCHEMA) as place:
        await migrate(place.owner.dsn, SCHEMA)
        await execute(place, _ROWS)
        await _run_again(place, *earlier_migration())
        assert await _ask_as_reader(
            place, "SELECT update_trade_recon_stats(p_account_id => 'a')"
        ) == (5, None, 0, False)
        said: list[str] = []
        await migrate(place.owner.dsn, SCHEMA, tell=said.append)
        assert any(
            "update_trade_recon_stats(character varying) is not trade-recon's any more" in line
            for line in said
        ), said
        assert await _is_ours(place)
        assert await _ask_as_reader(place, "SELECT update_trade_recon_stats('a')") == (
            5,
            0,
            0,
            False,
        )
        await _run_again(place, *earlier_migration())


async def test_a_warehouse_with_our_older_function_gets_the_one_with_their_argument(
    postgres: Server,
) -> None:
    reader = f"recon_reader_{secrets.token_hex(4)}"
    older = (
        "DROP FUNCTION SCHEMA.update_trade_recon_stats",
        """CREATE FUNCTION SCHEMA.update_trade_recon_stats(p_account_id text) RETURNS void LANGUAGE sql AS $$
            SELECT mismatched_days FROM SCHEMA.trade_recon WHERE account_id = $1 $$""",
        "GRANT EXECUTE ON FUNCTION SCHEMA.update_trade_recon_stats TO SERVICE_ROLE",
        "DELETE FROM SCHEMA.recon_migrations WHERE name LIKE '0165%'",
        """UPDATE SCHEMA.recon_definitions
            SET name = 'update_trade_recon_stats(text)',
                definition = pg_get_functiondef('SCHEMA.update_trade_recon_stats(text)'::regprocedure)
            WHERE name = 'update_trade_recon_stats(character varying)'""",
    )
    async with new_database(postgres, SCHEMA) as place:
        await execute(place, TABLES_OF_HERITAGE)
        await _run_again(place, *earlier_migration())
        await migrate(place.owner.dsn, SCHEMA)
        await execute(
            place,
            [
                *older,
                (
                    f"CREATE FUNCTION SCHEMA.{reader}() RETURNS void RETURN"
                    " SCHEMA.update_trade_recon_stats('a'::text)"
                ),
            ],
        )
        # What is bound to the older one keeps it.
        await migrate(place.owner.dsn, SCHEMA)
        await execute(
            place,
            [
                f"DROP FUNCTION SCHEMA.{reader}",
                "DELETE FROM SCHEMA.recon_migrations WHERE name LIKE '0165%'",
            ],
        )
        assert await migrate(place.owner.dsn, SCHEMA) == ["0165_one_statistics_function"]
        async with place.owner.connect() as connection:
            found = await connection.fetch(
                "SELECT oid::regprocedure::text AS name, has_function_privilege($1, oid, 'EXECUTE')"
                " AS may FROM pg_proc WHERE proname = 'update_trade_recon_stats'",
                place.role,
            )
        assert [tuple(row) for row in found] == [
            ("update_trade_recon_stats(character varying)", True)
        ]
        assert await migrate(place.owner.dsn, SCHEMA) == []


async def test_the_earlier_owner_runs_it_again_as_a_member_of_our_role(postgres: Server) -> None:
    role, earlier = f"recon_role_{secrets.token_hex(4)}", f"recon_earlier_{secrets.token_hex(4)}"
    async with new_database(postgres, SCHEMA) as place:
        own = with_setting(place.owner, "role", role)
        theirs = Place(with_setting(place.owner, "role", earlier), place.owner, place.role)
        await execute(
            place,
            [
                f"CREATE ROLE {earlier}",
                f"GRANT ALL ON SCHEMA THIS_SCHEMA TO {earlier} WITH GRANT OPTION",
            ],
        )
        try:
            await execute(theirs, (*TABLES_OF_HERITAGE, *_ROWS))
            await _run_again(theirs, *earlier_migration())
            before = await seen(place)
            settings = Settings(database_url=SecretStr(place.owner.dsn), recon_schema=SCHEMA)
            await execute(place, statements(await print_advice(settings, role)))
            await migrate(own.dsn, SCHEMA)
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="must be owner"):
                await _run_again(theirs, *earlier_migration())
            await execute(place, [f'GRANT "{role}" TO "{earlier}"'])
            await _run_again(theirs, *earlier_migration())
            await migrate(own.dsn, SCHEMA)
            assert await _is_ours(place)
            await _run_again(theirs, *earlier_migration())
            async with place.owner.connect() as connection:
                await connection.execute(await print_uninstall(settings, role))
            assert await seen(place) == before
        finally:
            await execute(
                place,
                [
                    f'{verb} "{each}"'
                    for each in (role, earlier)
                    for verb in ("DROP OWNED BY", "DROP ROLE")
                ],
            )
