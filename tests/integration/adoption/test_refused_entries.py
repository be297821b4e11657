"""A row of trade_recon that its owner's keys and triggers refuse costs only its account:
maintenance and runs go on for all others.
"""

from collections.abc import AsyncIterator

import pytest

from app.domain.states import RunKind
from app.sandbox.server.faults import Faults, Rejection
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.ingestion import ingest
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Server
from tests.support.engine import engine, run
from tests.support.warehouses.building import Place, execute
from tests.support.warehouses.heritage import SCHEMA
from tests.support.warehouses.way_back import earlier_system
from tests.support.warehouses.worlds import world

_ACCOUNTS = 14
_STAND_IN = (
    "md5(login || '|' || platform || '|' || broker) FROM SCHEMA.raw_metrics_alltime WHERE"
    " account_id = 'acc-0000"
)
_STAND_INS = tuple(
    f"INSERT INTO SCHEMA.trade_recon (account_id) SELECT {_STAND_IN}{n}'" for n in (4, 5, 6)
)
"""Rows under ids that are no accounts, which maintenance drops."""
_REFUSE = """
CREATE FUNCTION SCHEMA.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF {condition} THEN RAISE EXCEPTION 'not this one'; END IF;
    RETURN coalesce(NEW, OLD);
END $$
"""


def _trigger(when: str, condition: str) -> tuple[str, ...]:
    return (
        _REFUSE.format(condition=condition),
        (
            f"CREATE TRIGGER refuse BEFORE {when} ON SCHEMA.trade_recon FOR EACH ROW EXECUTE"
            " FUNCTION SCHEMA.refuse()"
        ),
    )


def _notes(reference: str) -> tuple[str, ...]:
    return (
        (
            "CREATE TABLE SCHEMA.case_notes (account_id varchar(255) REFERENCES SCHEMA.trade_recon"
            f" {reference}, note text)"
        ),
        f"INSERT INTO SCHEMA.case_notes SELECT {_STAND_IN}4'",
    )


_STAYS = {
    "others refer to it": _notes(""),
    "others refer to it, and would go with it": _notes("ON DELETE CASCADE"),
    "others refer to it, and would forget it": _notes("ON DELETE SET NULL"),
    "others refer to it, which is checked at the end": _notes("DEFERRABLE INITIALLY DEFERRED"),
    "a trigger keeps it": _trigger("DELETE", f"OLD.account_id = (SELECT {_STAND_IN}4')"),
}


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(world(accounts=_ACCOUNTS)) as server:
        yield server


async def _filled(place: Place, sandbox: SandboxServer) -> None:
    async with place.owner.connect() as connection:
        await ingest(sandbox.base_url, sandbox.api_key, connection, SCHEMA)


@pytest.mark.parametrize("kind", _STAYS)
async def test_an_entry_that_may_not_go_stays_and_the_others_go(
    postgres: Server, sandbox: SandboxServer, kind: str
) -> None:
    async with earlier_system(postgres) as place:
        await _filled(place, sandbox)
        await execute(place, (*_STAND_INS, *_STAYS[kind]))
        await migrate(place.owner.dsn, SCHEMA)
        async with engine(place.owner, sandbox) as service:
            assert (await service.maintain()).accounts_refused == {}
        async with place.owner.connect() as connection:
            left = await connection.fetch(
                "SELECT account_id FROM trade_recon WHERE account_id NOT LIKE 'acc-%'"
            )
            assert len(left) == 1
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM trade_recon WHERE account_id LIKE 'acc-%'"
                )
                == _ACCOUNTS
            )
            if "refer" in kind:
                assert await connection.fetchval("SELECT account_id FROM case_notes") == left[0][0]


_LACKED = ("acc-00013", "acc-00014")
_LISTED = """
ALTER TABLE SCHEMA.trade_recon ADD CONSTRAINT listed FOREIGN KEY (account_id) REFERENCES SCHEMA.list DEFERRABLE INITIALLY DEFERRED
"""
_KEPT_OUT = {
    "a list of accounts lacks them": (
        (
            "CREATE TABLE SCHEMA.firm AS SELECT account_id FROM SCHEMA.raw_metrics_alltime WHERE"
            " account_id < 'acc-00013'"
        ),
        "INSERT INTO SCHEMA.firm SELECT account_id FROM SCHEMA.trade_recon ON CONFLICT DO NOTHING",
        "CREATE TABLE SCHEMA.list AS SELECT DISTINCT account_id FROM SCHEMA.firm",
        "ALTER TABLE SCHEMA.list ADD PRIMARY KEY (account_id)",
        _LISTED,
    ),
    "a trigger refuses them": _trigger("INSERT", "NEW.account_id >= 'acc-00013'"),
}


@pytest.mark.parametrize(
    ("kind", "runs"), [*zip(_KEPT_OUT, (RunKind.FULL, RunKind.AUDIT), strict=True)]
)
async def test_accounts_that_are_not_let_in_fail_alone(
    postgres: Server, sandbox: SandboxServer, kind: str, runs: RunKind
) -> None:
    async with earlier_system(postgres) as place:
        await _filled(place, sandbox)
        await execute(place, _KEPT_OUT[kind])
        await migrate(place.owner.dsn, SCHEMA)
        await execute(
            place,
            [
                (
                    "DELETE FROM SCHEMA.raw_metrics_hourly WHERE account_id IN ('acc-00002',"
                    " 'acc-00014')"
                )
            ],
        )
        async with engine(place.owner, sandbox) as service:
            state = await run(service, runs)
        assert state["error"] is None
        assert state["status"] == "completed_with_issues"
        async with place.owner.connect() as connection:
            failed = await connection.fetch(
                "SELECT account_id, detail FROM recon_attempts WHERE outcome = 'failed' ORDER BY 1"
            )
            assert tuple(row["account_id"] for row in failed) == _LACKED
            assert all(
                "is refused" in row["detail"]
                and ("listed" in row["detail"] or "not this one" in row["detail"])
                for row in failed
            )
            assert (
                await connection.fetchval(
                    "SELECT outcome FROM recon_attempts WHERE account_id = 'acc-00002'"
                )
                == "healed"
            )


async def test_an_account_whose_row_cannot_be_written_fails_alone_and_new_ones_are_found(
    postgres: Server, sandbox: SandboxServer
) -> None:
    async with earlier_system(postgres) as place:
        await _filled(place, sandbox)
        await migrate(place.owner.dsn, SCHEMA)
        await execute(place, _trigger("UPDATE", "OLD.account_id = 'acc-00003'"))
        await execute(
            place,
            [
                (
                    "DELETE FROM SCHEMA.raw_metrics_hourly WHERE account_id IN ('acc-00002',"
                    " 'acc-00003', 'acc-00014')"
                )
            ],
        )
        async with engine(place.owner, sandbox) as service:
            for kind in (RunKind.FULL, RunKind.AUDIT):
                state = await run(service, kind)
                assert (state["error"], state["maintenance"].get("incomplete")) == (None, None)  # type: ignore[attr-defined]
        async with place.owner.connect() as connection:
            rows = await connection.fetch(
                "SELECT DISTINCT account_id, outcome FROM recon_attempts WHERE outcome <>"
                " 'unchanged'"
            )
            outcomes = {row["account_id"]: row["outcome"] for row in rows}
            assert outcomes == {"acc-00002": "healed", "acc-00003": "failed", "acc-00014": "healed"}
            assert await connection.fetchval("SELECT count(*) FROM trade_recon") == _ACCOUNTS


_FAILING = {
    "a trigger refuses that it failed": _trigger(
        "UPDATE", "NEW.failed_attempts > OLD.failed_attempts"
    ),
    "it failed as often as an integer can say": (
        "UPDATE SCHEMA.trade_recon SET failed_attempts = 2147483647 WHERE account_id = 'acc-00003'",
    ),
}


@pytest.mark.parametrize("kind", _FAILING)
async def test_an_account_whose_failure_cannot_be_counted_fails_alone(
    postgres: Server, kind: str
) -> None:
    made = world(accounts=_ACCOUNTS)
    async with (
        earlier_system(
            postgres, "DELETE FROM SCHEMA.trade_recon WHERE account_id > 'acc-00009'"
        ) as place,
        SandboxServer(made) as sandbox,
    ):
        await _filled(place, sandbox)
        await migrate(place.owner.dsn, SCHEMA)
        await execute(
            place,
            [
                (
                    "DELETE FROM SCHEMA.raw_metrics_hourly WHERE account_id IN ('acc-00002',"
                    " 'acc-00003')"
                ),
                *_FAILING[kind],
            ],
        )
        gone = frozenset({"acc-00003", *(key.login for key in made.natural_keys("acc-00003"))})
        sandbox.set_faults(Faults(rejections=(Rejection(status=400, ids=gone),)))
        async with engine(place.owner, sandbox) as service:
            state = await run(service, RunKind.RETRY)
        assert (state["status"], state["error"]) == ("completed_with_issues", None)
        async with place.owner.connect() as connection:
            rows = await connection.fetch(
                "SELECT account_id, outcome FROM recon_attempts WHERE outcome <> 'unchanged'"
            )
            outcomes = {row["account_id"]: row["outcome"] for row in rows}
            assert (outcomes["acc-00002"], outcomes["acc-00003"]) == ("healed", "failed")
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM trade_recon WHERE claimed_by IS NOT NULL"
                )
                == 0
            )
