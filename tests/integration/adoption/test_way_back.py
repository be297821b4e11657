"""The way back leaves what the owner has on and around trade_recon as it was: overloads,
references, triggers, rules, constraints.
"""

import random

import pytest

from app.store.schema.migrations.migrate import migrate
from tests.conftest import Server
from tests.support.warehouses.building import Place, execute
from tests.support.warehouses.heritage import SCHEMA
from tests.support.warehouses.way_back import earlier_system, go_back, seen

_TYPES = ("integer", "text", "date", "jsonb", "numeric, text", "uuid[]", "timestamptz, integer")
_TOUCH = (
    "CREATE TABLE SCHEMA.changed (id bigint GENERATED ALWAYS AS IDENTITY, what text)",
    """CREATE FUNCTION SCHEMA.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.last_checked := '2001-01-01'; RETURN NEW; END $$""",
    """CREATE FUNCTION SCHEMA.log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO SCHEMA.changed (what) VALUES (TG_OP); RETURN NULL; END $$""",
)
_RUN = (
    (
        "UPDATE SCHEMA.trade_recon SET last_checked = now(), claimed_at = now(), failed_attempts ="
        " 2 WHERE account_id < 'acc-00007'"
    ),
    "DELETE FROM SCHEMA.trade_recon WHERE account_id = 'acc-00009'",
    "INSERT INTO SCHEMA.trade_recon (account_id) VALUES ('new-1'), ('new-2')",
)
"""What a run does to the table."""


def _overloads(rng: random.Random) -> list[str]:
    forms = (
        (
            "CREATE FUNCTION SCHEMA.{name}({arguments}) RETURNS integer LANGUAGE sql AS 'SELECT"
            " {number}'"
        ),
        "CREATE FUNCTION SCHEMA.{name}({arguments}) RETURNS integer RETURN {number}",
        (
            "CREATE FUNCTION SCHEMA.{name}({arguments}, OUT a integer, OUT b text) LANGUAGE sql AS"
            " 'SELECT {number}, ''b'''"
        ),
        "CREATE PROCEDURE SCHEMA.{name}({arguments}) LANGUAGE sql AS 'SELECT {number}'",
    )
    return [
        rng.choice(forms).format(name=name, arguments=arguments, number=rng.randrange(99))
        for name in ("get_issue_statistics", "update_trade_recon_stats")
        for arguments in rng.sample(
            _TYPES[1:] if name.startswith("u") else _TYPES, rng.randrange(1, 4)
        )
    ]


@pytest.mark.parametrize("seed", range(3))
async def test_every_overload_that_was_put_aside_comes_back(postgres: Server, seed: int) -> None:
    overloads = _overloads(random.Random(seed))
    async with earlier_system(
        postgres, *(sql for sql in overloads if "update_trade_recon_stats(text)" not in sql)
    ) as place:
        before = await seen(place)
        await migrate(place.owner.dsn, SCHEMA)
        assert len(
            [name for name in (await seen(place))[0] if "_before_trade_recon" in name]
        ) > len(overloads)
        await go_back(place)
        assert await seen(place) == before


async def test_functions_that_differ_in_their_sql_bodies_alone_are_no_copies(
    postgres: Server,
) -> None:
    async with earlier_system(postgres) as place:
        await migrate(place.owner.dsn, SCHEMA)
        for number in (1, 2):
            await execute(
                place,
                [
                    (
                        "CREATE FUNCTION SCHEMA.get_issue_statistics(p_days integer) RETURNS integer"
                        f" RETURN {number}"
                    )
                ],
            )
            await migrate(place.owner.dsn, SCHEMA)
        script = await go_back(place)
        async with place.owner.connect() as connection:
            kept = await connection.fetch(
                "SELECT oid::regprocedure::text FROM pg_proc WHERE proname ~ '^get_issue' AND"
                " prosqlbody IS NOT NULL ORDER BY 1"
            )
        assert [row[0] for row in kept] == [
            "get_issue_statistics(integer)",
            "get_issue_statistics_before_trade_recon_3(integer)",
        ]
        assert (
            "stay under the names by which they were put aside:"
            " get_issue_statistics_before_trade_recon_3" in script
        )


async def _there_and_back(place: Place, *tables: str) -> None:
    before = await seen(place, ("trade_recon", *tables))
    await migrate(place.owner.dsn, SCHEMA)
    await execute(place, ("SET session_replication_role = replica", *_RUN))
    await go_back(place)
    assert await seen(place, ("trade_recon", *tables)) == before


@pytest.mark.parametrize(
    "on_delete", ["CASCADE", "SET NULL", "RESTRICT", "NO ACTION DEFERRABLE INITIALLY DEFERRED"]
)
async def test_rows_of_others_that_refer_to_trade_recon_stay(
    postgres: Server, on_delete: str
) -> None:
    notes = (
        (
            "CREATE TABLE SCHEMA.case_notes (account_id varchar(255) REFERENCES SCHEMA.trade_recon"
            f" ON DELETE {on_delete}, note text)"
        ),
        (
            "INSERT INTO SCHEMA.case_notes SELECT account_id, 'call back' FROM SCHEMA.trade_recon"
            " WHERE account_id <> 'acc-00009'"
        ),
    )
    async with earlier_system(postgres, *notes) as place:
        await _there_and_back(place, "case_notes")
        # A row of ours that others refer to meanwhile stays with what refers to it.
        await migrate(place.owner.dsn, SCHEMA)
        await execute(
            place, (_RUN[2], "INSERT INTO SCHEMA.case_notes VALUES ('new-1', 'who is this')")
        )
        script = await go_back(place)
        assert "stay where others refer to them: prop_trading_model.case_notes" in script
        async with place.owner.connect() as connection:
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM case_notes WHERE account_id IS NOT NULL"
                )
                == 12
            )
            assert await connection.fetchval(
                "SELECT array_agg(account_id) FROM trade_recon WHERE account_id LIKE 'new%'"
            ) == ["new-1"]


@pytest.mark.parametrize("state", ["ENABLE", "ENABLE ALWAYS", "ENABLE REPLICA", "DISABLE"])
async def test_triggers_and_rules_of_the_owner_do_not_act_on_the_way_back_and_stay_as_they_were(
    postgres: Server, state: str
) -> None:
    acting = (
        *_TOUCH,
        (
            "CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON SCHEMA.trade_recon FOR EACH ROW"
            " EXECUTE FUNCTION SCHEMA.touch()"
        ),
        (
            'CREATE TRIGGER "Log it" AFTER INSERT OR UPDATE OR DELETE ON SCHEMA.trade_recon FOR'
            " EACH ROW EXECUTE FUNCTION SCHEMA.log()"
        ),
        """CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON SCHEMA.trade_recon DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION SCHEMA.log()""",
        f"ALTER TABLE SCHEMA.trade_recon {state} TRIGGER touch",
    )
    async with earlier_system(postgres, *acting) as place:
        before = await seen(place)
        await migrate(place.owner.dsn, SCHEMA)
        await execute(
            place,
            (
                *_RUN,
                "CREATE RULE keep AS ON DELETE TO SCHEMA.trade_recon DO INSTEAD NOTHING",
                (
                    "CREATE RULE noted AS ON UPDATE TO SCHEMA.trade_recon DO ALSO INSERT INTO"
                    " SCHEMA.changed (what) VALUES ('rule')"
                ),
                f"ALTER TABLE SCHEMA.trade_recon {state} RULE keep",
                "TRUNCATE SCHEMA.changed",
            ),
        )
        await go_back(place)
        async with place.owner.connect() as connection:
            assert await connection.fetchval("SELECT count(*) FROM changed") == 0
            kept = await connection.fetchval(
                "SELECT ev_enabled FROM pg_rewrite WHERE rulename = 'keep'"
            )
            assert (
                kept
                == {"ENABLE": b"O", "ENABLE ALWAYS": b"A", "ENABLE REPLICA": b"R", "DISABLE": b"D"}[
                    state
                ]
            )
            await connection.execute("DROP RULE keep ON trade_recon")
            await connection.execute("DROP RULE noted ON trade_recon")
        assert await seen(place) == before


_ODD = {
    "columns without an equality, and generated ones": (
        (
            "ALTER TABLE SCHEMA.trade_recon ADD note json DEFAULT '{\"a\": 1}', ADD spot point"
            " DEFAULT '(1,2)'"
        ),
        "ALTER TABLE SCHEMA.trade_recon ADD id bigint GENERATED ALWAYS AS IDENTITY",
        (
            "ALTER TABLE SCHEMA.trade_recon ADD twice integer GENERATED ALWAYS AS (num_trades_daily"
            " * 2) STORED"
        ),
    ),
    "a list of accounts that it refers to, checked at the end": (
        "CREATE TABLE SCHEMA.firm AS SELECT account_id FROM SCHEMA.trade_recon",
        "INSERT INTO SCHEMA.firm VALUES ('new-1'), ('new-2')",
        "ALTER TABLE SCHEMA.firm ADD PRIMARY KEY (account_id)",
        (
            "ALTER TABLE SCHEMA.trade_recon ADD FOREIGN KEY (account_id) REFERENCES SCHEMA.firm"
            " DEFERRABLE INITIALLY DEFERRED"
        ),
    ),
    "policies that hold for its owner, too": (
        "ALTER TABLE SCHEMA.trade_recon ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "CREATE POLICY nothing ON SCHEMA.trade_recon USING (false)",
    ),
}


@pytest.mark.parametrize("kind", _ODD)
async def test_whatever_the_owner_has_on_trade_recon_its_rows_come_back(
    postgres: Server, kind: str
) -> None:
    async with earlier_system(postgres, *_ODD[kind]) as place:
        await _there_and_back(place)


async def test_rows_that_a_constraint_would_refuse_now_come_back_and_it_stays(
    postgres: Server,
) -> None:
    refuse = (
        "ALTER TABLE SCHEMA.trade_recon ADD CONSTRAINT young CHECK (failed_attempts = 0) NOT VALID",
        "COMMENT ON CONSTRAINT young ON SCHEMA.trade_recon IS 'from now on'",
    )
    async with earlier_system(postgres) as place:
        before = await seen(place)
        await migrate(place.owner.dsn, SCHEMA)
        await execute(place, (*_RUN, *refuse))
        await go_back(place)
        after = await seen(place)
        assert after[1] == before[1]
        [constraint] = after[0]["trade_recon"] - before[0]["trade_recon"]
        assert "young" in constraint
        assert "from now on" in constraint
