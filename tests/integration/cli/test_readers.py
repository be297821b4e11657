"""What was recorded is read by a role with SELECT alone; one that lacks even that is told which
right it lacks.
"""

import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.web.schemas.report import Report
from tests.conftest import Database, Server
from tests.support.commands import access, run_command
from tests.support.engine import TODAY, engine, fill, run

_SCHEMA = "prop_trading_model"


@dataclass(frozen=True)
class _Read:
    """A warehouse with a run and rows that were changed, and a role that may read it."""

    server: Server
    database: Database
    role: str
    dsn: str
    run_id: str
    account_id: str


@pytest.fixture(scope="module")
async def read(postgres: Server, template: str) -> AsyncIterator[_Read]:
    world = World.generate(
        6, seed=3, today=TODAY, trades_per_account=6, days=10, contradictory=False
    )
    role = f"reader_{secrets.token_hex(4)}"
    async with postgres.clone(template, "readers") as name, SandboxServer(world) as sandbox:
        database = Database(postgres.database(name), _SCHEMA)
        await fill(database, sandbox)
        account_id = next(each for each in world.account_ids if world.trades(each))
        async with database.connect() as connection:
            await connection.execute(
                "UPDATE raw_metrics_daily SET num_trades = num_trades + 1 WHERE account_id = $1",
                account_id,
            )
        async with engine(database, sandbox) as service:
            state = await run(service, RunKind.FULL)
        parts = urlsplit(database.dsn)
        await postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret-of-the-reader'")
        async with database.connect() as connection:
            await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            await connection.execute(f"GRANT CONNECT ON DATABASE {name} TO {role}")
            await connection.execute(f"GRANT USAGE ON SCHEMA {_SCHEMA} TO {role}")
            await connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {_SCHEMA} TO {role}")
            await connection.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
        host = parts.netloc.rpartition("@")[2]
        dsn = urlunsplit(parts._replace(netloc=f"{role}:secret-of-the-reader@{host}"))
        yield _Read(postgres, database, role, dsn, str(state["run_id"]), account_id)
    await postgres.execute(f"DROP ROLE {role}")


async def test_the_report_is_read_by_a_role_with_select_alone(read: _Read, tmp_path: Path) -> None:
    told = await run_command(tmp_path, {"DATABASE_URL": read.dsn}, "report", "--format", "json")
    assert told.code == 0, told.stderr
    by_owner = await run_command(
        tmp_path, {"DATABASE_URL": read.database.dsn}, "report", "--format", "json"
    )
    mine, theirs = (
        Report.model_validate_json(each.stdout).model_dump(exclude={"as_of"})
        for each in (told, by_owner)
    )
    assert mine == theirs
    table = await run_command(tmp_path, {"DATABASE_URL": read.dsn}, "report")
    assert (table.code, "of 6 accounts are reconciled" in table.stdout) == (0, True), table.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("accounts",), lambda read: read.account_id),
        (
            ("accounts", "list", "--status", "reconciled", "--format", "json"),
            lambda _: '"status": "reconciled"',
        ),
        (("accounts", "show", "ACCOUNT", "--format", "json"), lambda _: '"outcome": "healed"'),
        (("accept", "--list", "--format", "json"), lambda _: '"accepted"'),
        (("runs",), lambda read: read.run_id),
        (("runs", "show", "RUN", "--format", "json"), lambda _: '"healed": 1'),
        (("changes", "--run", "RUN", "--format", "json"), lambda _: '"name": "num_trades"'),
        (("removed",), lambda _: "raw_metrics_daily"),
        (("legacy", "--report"), lambda _: "Reconciliation report: {"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_what_was_recorded_is_read_by_a_role_with_select_alone(
    read: _Read, tmp_path: Path, words: tuple[str, ...], said: Callable[[_Read], str]
) -> None:
    filled_in = [{"ACCOUNT": read.account_id, "RUN": read.run_id}.get(word, word) for word in words]
    told = await run_command(tmp_path, {"DATABASE_URL": read.dsn}, *filled_in)
    assert told.code == 0, told.stderr
    assert said(read) in told.stdout


async def test_a_role_with_select_alone_is_refused_what_would_write(
    read: _Read, sandbox: SandboxServer, tmp_path: Path
) -> None:
    for words in (
        ("maintain",),
        ("reconcile",),
        ("runs", "cancel", read.run_id),
        ("removed", "release", "--account", read.account_id),
    ):
        refused = await run_command(
            tmp_path, {**access(read.database, sandbox), "DATABASE_URL": read.dsn}, *words
        )
        assert refused.code == 2, (words, refused.stderr)
        assert read.role in refused.stderr
        assert "read-only" in refused.stderr


@pytest.mark.parametrize("table", ["trade_recon", "recon_migrations", "recon_identity_findings"])
async def test_a_role_that_may_not_even_read_is_told_which_right_it_lacks(
    read: _Read, tmp_path: Path, table: str
) -> None:
    async with read.database.connect() as connection:
        await connection.execute(f"REVOKE SELECT ON {table} FROM {read.role}")
        try:
            refused = await run_command(tmp_path, {"DATABASE_URL": read.dsn}, "report")
        finally:
            await connection.execute(f"GRANT SELECT ON {table} TO {read.role}")
    assert (refused.code, refused.stdout) == (2, ""), refused.stderr
    assert (
        f"The role {read.role} lacks a right: permission denied for table {table}."
        in refused.stderr
    )
    assert f'GRANT SELECT ON ALL TABLES IN SCHEMA "{_SCHEMA}" TO "{read.role}"' in refused.stderr


async def test_a_role_that_may_not_use_the_schema_is_told_so(read: _Read, tmp_path: Path) -> None:
    async with read.database.connect() as connection:
        await connection.execute(f"REVOKE USAGE ON SCHEMA {_SCHEMA} FROM {read.role}")
        try:
            refused = await run_command(
                tmp_path, {"DATABASE_URL": read.dsn}, "accounts", "list", "--format", "json"
            )
        finally:
            await connection.execute(f"GRANT USAGE ON SCHEMA {_SCHEMA} TO {read.role}")
    assert (refused.code, refused.stdout) == (2, ""), refused.stderr
    assert (
        f"The role {read.role} lacks a right: permission denied for schema {_SCHEMA}."
        in refused.stderr
    )
    assert f'GRANT USAGE ON SCHEMA "{_SCHEMA}" TO "{read.role}"' in refused.stderr


async def test_reading_as_one_who_may_write_changes_nothing_either(
    read: _Read, tmp_path: Path
) -> None:
    """What a reading command does must not depend on the role: a standby would refuse it."""
    async with read.database.connect() as connection:
        state = "SELECT jsonb_agg(to_jsonb(t) ORDER BY account_id) FROM trade_recon AS t"
        before = json.loads(await connection.fetchval(state))
        for words in (("report",), ("accounts",), ("runs",), ("removed",)):
            assert (
                await run_command(tmp_path, {"DATABASE_URL": read.database.dsn}, *words)
            ).code == 0
        assert json.loads(await connection.fetchval(state)) == before
