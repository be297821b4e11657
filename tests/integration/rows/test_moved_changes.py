"""A trade that a run moved is a change of both dates: of the one under which it stood, and of the
one to which it was moved.
"""

import datetime as dt

from app.domain.states import RunKind
from app.engine.report.models.changes import ChangeFilter
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.clock import SETTLED
from tests.support.engine import difference, engine, run
from tests.support.plain import plain


async def test_what_was_moved_to_a_date_is_a_change_of_that_date(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        row = await connection.fetchrow(
            "SELECT account_id, max(trade_date) AS day FROM raw_trades_closed WHERE trade_date <="
            " $1 GROUP BY 1 ORDER BY 1 LIMIT 1",
            SETTLED,
        )
        assert row is not None
        account, day = row
        moved = await connection.fetch(
            "UPDATE raw_trades_closed SET trade_date = trade_date - 1 WHERE account_id = $1 AND"
            " trade_date = $2 RETURNING 1",
            account,
            day,
        )
        await run(service, RunKind.FULL)
        assert (await difference(warehouse, sandbox)).is_equal
        feed = plain(await service.readings.changes(None, 50))["changes"]
        assert day in {each["date"] for each in feed if each["account_id"] == account}
        page = plain(
            await service.readings.changed_rows(ChangeFilter(account_id=account, date=day), 50)
        )
        assert len(page["rows"]) == len(moved), page
        # Those that were moved once more since are still told of the date, and no other date has
        # them.
        await connection.execute(
            "UPDATE raw_trades_closed SET trade_date = trade_date - 2 WHERE account_id = $1 AND"
            " trade_date = $2",
            account,
            day,
        )
        await run(service, RunKind.FULL)
        page = plain(
            await service.readings.changed_rows(ChangeFilter(account_id=account, date=day), 50)
        )
        assert len(page["rows"]) >= 2 * len(moved), page
        later = plain(
            await service.readings.changed_rows(
                ChangeFilter(account_id=account, date=day + dt.timedelta(days=1)), 50
            )
        )
        assert later["rows"] == []
