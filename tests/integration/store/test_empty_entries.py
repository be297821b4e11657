"""Entries of which nothing is stored: those that only stand for a known natural key go, all others
stay until their owner drops them.
"""

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.engine import engine, run
from tests.support.plain import plain_report

_KEY = (
    "SELECT login, md5(login || '|' || platform || '|' || broker) AS digest FROM"
    " raw_metrics_alltime ORDER BY account_id LIMIT 1"
)
_UNKNOWN = {"99887766", "ghost", "d41d8cd98f00b204e9800998ecf8427e"}


async def test_entries_without_rows_stay_known_unless_they_stand_for_a_key_that_is_known(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with filled.connect() as connection, engine(filled, sandbox) as service:
        await service.maintain()
        known = len(sandbox.world.account_ids)
        key = await connection.fetchrow(_KEY)
        assert key is not None
        ids = [key["login"], key["digest"], *_UNKNOWN]
        await connection.execute(
            "INSERT INTO trade_recon (account_id) SELECT unnest($1::text[])", ids
        )
        for kind, status in (
            (None, "pending"),
            (RunKind.AUDIT, "reconciled"),
            (RunKind.AUDIT, "reconciled"),
        ):
            await service.maintain() if kind is None else await run(service, kind)
            told = await connection.fetch(
                "SELECT account_id, reconciliation_status FROM trade_recon WHERE account_id ="
                " ANY($1)",
                ids,
            )
            assert {
                row["account_id"]: row["reconciliation_status"] for row in told
            } == dict.fromkeys(_UNKNOWN, status)
            report = plain_report(await service.readings.report())
            assert report["overall"]["total_accounts"] == known + len(_UNKNOWN)
        await connection.execute(
            "DELETE FROM trade_recon WHERE account_id = ANY($1)", list(_UNKNOWN)
        )
        await run(service, RunKind.AUDIT)
        assert plain_report(await service.readings.report())["overall"]["total_accounts"] == known
