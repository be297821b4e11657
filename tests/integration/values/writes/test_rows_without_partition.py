"""Rows of a month without a partition cost themselves alone, and are stored once it is there, also
those of days without trades.
"""

import datetime as dt
from dataclasses import replace

from app.domain.contract.tables import Endpoint
from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.integration.values.conftest import Engine
from tests.support.engine import difference, run

_NO_PARTITIONS = """
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_query() LIKE '%recon_create_partitions%' THEN
        RAISE EXCEPTION 'no table without a ticket';
    END IF;
END
$$;
CREATE EVENT TRIGGER no_partitions ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION refuse()
"""


def _send_days_without_trades(world: World) -> None:
    """Upstream has a daily row without trades of each account, in February, on a date on which the
    account has no other.
    """
    for account_id in sorted({record.account_id for record in world.records(Endpoint.DAILY)}):
        records = world._of_account(Endpoint.DAILY, account_id)
        days = {record.day for record in records}
        day = next(day for number in range(9, 28) if (day := dt.date(2026, 2, number)) not in days)
        figures = dict.fromkeys(("numTrades", "netProfit", "totalLots"), 0)
        row = {**records[0].row, **figures, "date": day.isoformat()}
        records.append(
            replace(
                records[0],
                key=(*records[0].key[:-1], day.toordinal()),
                row=row,
                day=day,
                _encoded=None,
            )
        )
    world._selections.clear()


async def test_rows_without_trades_are_stored_once_their_partition_is_there(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    _send_days_without_trades(sandbox.world)
    month = "raw_metrics_daily_2026_02"
    async with warehouse.connect() as connection:
        # Without any daily row all of them are read, also those of days without trades.
        await connection.execute(f"DROP TABLE {month}; DELETE FROM raw_metrics_daily")
        async with service_of() as service:
            await connection.execute(_NO_PARTITIONS)
            await run(service, RunKind.FULL)
            details = await connection.fetch(
                "SELECT account_id, detail FROM recon_attempts WHERE detail LIKE '%no partition of"
                " raw_metrics_daily%'"
            )
            assert details
            aside = await connection.fetch(
                "SELECT account_id, row_data FROM recon_set_aside_rows WHERE reason LIKE 'no"
                " partition%'"
            )
            assert aside
            again = await run(service, RunKind.FULL)
            assert again["accounts"]["waiting"] == 0  # type: ignore[index]
            await connection.execute("DROP EVENT TRIGGER no_partitions")
            # Only the rows without trades are missing: the owner has made the partition, and
            # ingestion has loaded the others.
            await connection.execute(
                f"CREATE TABLE {month} PARTITION OF raw_metrics_daily FOR VALUES FROM"
                " ('2026-02-01') TO ('2026-03-01')"
            )
            await run(service, RunKind.RETRY)
            await run(service, RunKind.FULL)
            assert await connection.fetchval("SELECT count(*) FROM recon_set_aside_rows") == 0
            idle = await run(service, RunKind.FULL)
            assert idle["requests"] == 0
    assert (await difference(warehouse, sandbox)).is_equal
