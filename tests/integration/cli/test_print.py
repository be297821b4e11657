"""`trade-recon migrate --print`: the script on stdout, nothing else there, and nothing done."""

import secrets
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import Database, Server
from tests.support.commands import run_command


async def test_the_script_alone_goes_to_stdout_and_the_warehouse_stays_as_it_is(
    postgres: Server, tmp_path: Path
) -> None:
    name = f"recon_print_{secrets.token_hex(4)}"
    await postgres.execute(f"CREATE DATABASE {name}")
    variables = {"DATABASE_URL": postgres.database(name)}
    try:
        before = await run_command(
            tmp_path, variables, "migrate", "--print", "--role", f"role_{name}"
        )
        assert before.code == 0, before.stderr
        assert before.stdout.startswith("-- For the owner of the tables")
        assert (
            f'GRANT USAGE, CREATE ON SCHEMA "prop_trading_model" TO "role_{name}";' in before.stdout
        )
        connection = await asyncpg.connect(postgres.database(name))
        assert not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'prop_trading_model')"
        )
        assert not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", f"role_{name}"
        )
        await connection.close()
    finally:
        await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_after_a_migration_it_advises_no_index_and_names_the_usual_role(
    database: Database, tmp_path: Path
) -> None:
    printed = await run_command(tmp_path, {"DATABASE_URL": database.dsn}, "migrate", "--print")
    assert printed.code == 0, printed.stderr
    assert printed.stdout.endswith("-- No index is missing.\n")
    assert 'CREATE ROLE "trade_recon" LOGIN;' in printed.stdout
    assert "\\" not in printed.stdout


async def test_an_embedded_warehouse_needs_no_advice_and_is_not_even_started(
    tmp_path: Path,
) -> None:
    printed = await run_command(
        tmp_path, {"RECON_DATA_DIR": str(tmp_path / "data")}, "migrate", "--print"
    )
    assert printed.code == 0, printed.stderr
    assert "there is nothing to run" in printed.stdout
    assert all(line.startswith("--") for line in printed.stdout.splitlines())
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("role", ["", "public", "pg_read_all_data", "x" * 64])
async def test_a_name_that_no_role_can_have_ends_with_2_and_says_why(
    database: Database, tmp_path: Path, role: str
) -> None:
    refused = await run_command(
        tmp_path, {"DATABASE_URL": database.dsn}, "migrate", "--print", "--role", role
    )
    assert (refused.code, refused.stdout) == (2, "")
    assert "A role cannot be called" in refused.stderr
