"""A first migrate that PostgreSQL refuses leaves the warehouse as it was; where an older version
left half of it, there is a way back.
"""

from pathlib import Path

import pytest

from app.errors import ReconError
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Server
from tests.support.commands import run_command
from tests.support.warehouses.earlier_version import migrate_as_before
from tests.support.warehouses.heritage import SCHEMA
from tests.support.warehouses.way_back import earlier_system, go_back, seen

_REFUSING = {
    "a trigger that refuses an update": (
        """CREATE FUNCTION SCHEMA.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'never'; END $$""",
        (
            "CREATE TRIGGER refuse BEFORE UPDATE ON SCHEMA.trade_recon FOR EACH ROW EXECUTE"
            " FUNCTION SCHEMA.refuse()"
        ),
    ),
    "a constraint that a trigger breaks": (
        "ALTER TABLE SCHEMA.trade_recon ADD CONSTRAINT unseen CHECK (account_id <> 'x')",
        """CREATE FUNCTION SCHEMA.rename() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.account_id := 'x'; RETURN NEW; END $$""",
        (
            "CREATE TRIGGER rename BEFORE UPDATE ON SCHEMA.trade_recon FOR EACH ROW EXECUTE"
            " FUNCTION SCHEMA.rename()"
        ),
    ),
}


@pytest.mark.parametrize("kind", _REFUSING)
async def test_a_first_migrate_that_is_refused_leaves_nothing(postgres: Server, kind: str) -> None:
    async with earlier_system(postgres, *_REFUSING[kind]) as place:
        before = await seen(place)
        with pytest.raises(ReconError):
            await migrate(place.owner.dsn, SCHEMA)
        assert await seen(place) == before


@pytest.mark.parametrize("last", ["0005", "0010_trade_recon", "0012_functions", "0030"])
async def test_half_a_migration_of_an_older_version_is_named_and_leads_back_and_on(
    postgres: Server, tmp_path: Path, last: str
) -> None:
    """Older versions applied each file by itself: here all files after one of them were refused."""
    async with earlier_system(postgres) as place:
        before = await seen(place)
        await migrate_as_before(place.owner.dsn, SCHEMA, last)
        told = await run_command(tmp_path, {"DATABASE_URL": place.owner.dsn}, "doctor")
        assert "cannot be examined" not in told.stdout
        assert "stands beside" not in told.stdout
        assert "run `trade-recon migrate`" in told.stdout
        await go_back(place)
        assert await seen(place) == before
        await migrate_as_before(place.owner.dsn, SCHEMA, last)
        await migrate(place.owner.dsn, SCHEMA)
        await go_back(place)
        assert await seen(place) == before
