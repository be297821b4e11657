"""Partitions that are missing: made where trade-recon may, else told, with SQL that makes them."""

import re

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.states import RunKind
from app.sandbox.witness.comparison import DifferenceKind, compare
from tests.integration.adoption.conftest import Stories
from tests.support.engine import engine, run
from tests.support.warehouses.shape import Shape
from tests.support.warehouses.shapes import MISSING_MONTH, OTHER_PARTITIONS, SERVICE_ROLE
from tests.support.warehouses.story import empty_rows

DAILY = f"raw_metrics_daily_{MISSING_MONTH:%Y_%m}"
_ADVICE = re.compile(r"CREATE TABLE .*? FOR VALUES FROM \('[0-9-]+'\) TO \('[0-9-]+'\)")


async def test_a_missing_month_is_made_and_attached_where_we_own_the_table(
    stories: Stories,
) -> None:
    story = await stories(OTHER_PARTITIONS)
    assert DAILY in story.catalogues[2].keys() - story.catalogues[0].keys()
    # No count shows a day without trades that fell into the missing month: nothing asks for its
    # row.
    missing = {each.key for each in story.comparison.sample if each.table != "raw_metrics_hourly"}
    assert missing <= empty_rows(story)
    assert {each.kind for each in story.comparison.sample} <= {DifferenceKind.MISSING}


async def test_a_missing_month_is_told_with_its_name_where_we_may_not_make_it(
    stories: Stories,
) -> None:
    story = await stories(SERVICE_ROLE)
    assert story.catalogues[2] == story.catalogues[0]
    told = {
        account_id
        for account_id, detail in story.details.items()
        if DAILY in detail and _ADVICE.search(detail)
    }
    in_missing_month = {
        record.account_id
        for record in story.sandbox.world.records(Endpoint.DAILY)
        if record.day is not None
        and record.day.replace(day=1) == MISSING_MONTH
        and float(str(record.row["numTrades"])) > 0
    }
    assert in_missing_month
    assert told >= in_missing_month


@pytest.mark.parametrize("shape", [OTHER_PARTITIONS, SERVICE_ROLE], ids=lambda shape: shape.name)
async def test_once_the_owner_has_run_what_was_told_a_retry_heals_the_accounts(
    stories: Stories, shape: Shape
) -> None:
    story = await stories(shape)
    advised = set(_ADVICE.findall(" ".join(story.details.values())))
    for _ in ("daily rows first", "then the hourly rows below them"):
        async with story.place.owner.connect() as connection:
            for statement in advised:
                await connection.execute(statement)
            done = advised
        async with engine(story.database, story.sandbox) as service:
            await run(service, RunKind.RETRY)
            await run(service, RunKind.AUDIT)
        async with story.place.owner.connect() as connection:
            details = [
                row["detail"] or ""
                for row in await connection.fetch(
                    "SELECT detail FROM recon_attempts WHERE finished_at IS NOT NULL"
                )
            ]
            advised = set(_ADVICE.findall(" ".join(details))) - done
    async with story.place.owner.connect() as connection:
        found = await compare(
            {endpoint: story.sandbox.world.rows(endpoint) for endpoint in Endpoint},
            connection,
            shape.schema,
        )
        troubled = await connection.fetchval(
            "SELECT count(*) FROM trade_recon WHERE issues <> '[]'"
        )
    assert troubled == 0
    assert {each.key for each in found.sample} <= empty_rows(story)
