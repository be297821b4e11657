"""What hosters and other clients write into a DSN, against a real server."""

import pytest

from app.dsn import Dsn
from app.errors import ConfigurationError
from app.store.database.pool import Database as Pool
from tests.conftest import Database

_TAKEN = (
    "channel_binding=require",
    "pgbouncer=true&connection_limit=1&pool_timeout=0",
    "connect_timeout=10&keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3",
    "gssencmode=disable&client_encoding=UTF8&fallback_application_name=x&sslsni=1&load_balance_hosts=disable",
    "schema=public&socket_timeout=3&sslmode=disable",
    "options=-c%20work_mem%3D8MB",
    "application_name=somebody",
    "statement_timeout=60000",
    "target_session_attrs=read-write",
)


def _with(database: Database, parameters: str) -> str:
    return f"{database.dsn}{'&' if '?' in database.dsn else '?'}{parameters}"


@pytest.mark.parametrize("parameters", _TAKEN)
async def test_a_connection_comes_about_whatever_a_hoster_writes_into_the_dsn(
    database: Database, parameters: str
) -> None:
    dsn = Dsn.read(_with(database, parameters)).text.get_secret_value()
    async with Pool.open(dsn, database.schema, pool_size=1) as pool:
        assert await pool.fetch_value("SELECT 1") == 1


@pytest.mark.parametrize(
    "parameters", ["pgbuoncer=true", "sslmode=disable&no_such_thing=1", "Schema2=x"]
)
async def test_a_parameter_that_the_server_does_not_know_is_named(
    database: Database, parameters: str
) -> None:
    name = parameters.rsplit("&", maxsplit=1)[-1].partition("=")[0]
    with pytest.raises(
        ConfigurationError, match=f"DATABASE_URL holds the parameter {name}, which .* leave it out"
    ):
        async with Pool.open(
            Dsn.read(_with(database, parameters)).text.get_secret_value(),
            database.schema,
            pool_size=1,
        ):
            pass
