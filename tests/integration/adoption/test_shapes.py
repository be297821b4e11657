"""Adopted warehouses of many shapes: nothing of theirs is changed, and all is healed that their
keys let be.
"""

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.issues.codes import IssueCode
from app.domain.states import RunStatus
from app.sandbox.witness.comparison import DifferenceKind
from tests.integration.adoption.conftest import Stories
from tests.support.warehouses.shape import Shape
from tests.support.warehouses.shapes import OTHER_PARTITIONS, SHAPES
from tests.support.warehouses.story import Story, empty_rows, lost_rows, rows_without_copy

each_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)


def _unexplained(story: Story) -> list[str]:
    """Differences other than rows that a narrow key cannot hold, that were set aside, or that lack
    only a partition.
    """
    named = {(entry.table, entry.key) for entry in story.set_aside}
    empty = empty_rows(story) if story.shape.schema == OTHER_PARTITIONS.schema else frozenset[str]()
    return [
        f"{each.table} {each.kind} {each.key} {each.account_ids} {each.columns}"
        for each in story.comparison.sample
        if each.kind is not DifferenceKind.MISSING
        or not (
            each.key in story.colliding[each.table]
            or (each.table, each.key) in named
            or each.key in empty
            or _lack_partition(story, each.account_ids)
        )
    ]


def _lack_partition(story: Story, account_ids: tuple[str, ...]) -> bool:
    return any(
        "no partition of raw_metrics_" in story.details.get(account_id, "")
        for account_id in account_ids
    )


@each_shape
async def test_migration_leaves_the_catalogue_of_the_raw_tables_as_it_was(
    stories: Stories, shape: Shape
) -> None:
    story = await stories(shape)
    assert story.catalogues[1] == story.catalogues[0]


@each_shape
async def test_runs_change_nothing_in_the_catalogue_but_for_partitions_that_a_heal_needed(
    stories: Stories, shape: Shape
) -> None:
    story = await stories(shape)
    before, after = story.catalogues[0], story.catalogues[2]
    assert {name: after[name] for name in before} == dict(before)
    assert bool(after.keys() - before.keys()) == (shape is OTHER_PARTITIONS)


@each_shape
async def test_the_test_damages_each_table(stories: Stories, shape: Shape) -> None:
    story = await stories(shape)
    hit = {table for table in story.rows[0] if story.rows[0][table] != story.rows[1][table]}
    assert len(story.damage) >= 18
    assert hit == {
        "raw_metrics_alltime",
        "raw_metrics_daily",
        "raw_metrics_hourly",
        "raw_trades_closed",
        "raw_trades_open",
    }


@each_shape
async def test_all_is_healed_that_the_keys_and_constraints_of_the_warehouse_let_be(
    stories: Stories, shape: Shape
) -> None:
    story = await stories(shape)
    assert _unexplained(story) == []


@each_shape
async def test_exactly_the_accounts_whose_rows_a_key_cannot_hold_are_shown_as_key_too_narrow(
    stories: Stories, shape: Shape
) -> None:
    story = await stories(shape)
    narrow = {
        account_id
        for each in story.comparison.sample
        if each.key in story.colliding[each.table] and each.table != "raw_trades_open"
        for account_id in each.account_ids
    }
    shown = {
        account_id
        for account_id, found in story.issues.items()
        if IssueCode.KEY_TOO_NARROW in found
    }
    assert shown == narrow
    assert bool(narrow) == bool(shape.narrow)


@each_shape
async def test_no_stored_row_that_was_right_is_lost(stories: Stories, shape: Shape) -> None:
    story = await stories(shape)
    assert lost_rows(story) == {}


@each_shape
async def test_of_every_row_that_was_removed_or_overwritten_a_copy_is_kept(
    stories: Stories, shape: Shape
) -> None:
    story = await stories(shape)
    assert rows_without_copy(story) == {}


@each_shape
async def test_further_runs_write_nothing(stories: Stories, shape: Shape) -> None:
    story = await stories(shape)
    for state in story.runs[2:]:
        written = {
            name: state["rows"][name] for name in ("inserted", "updated", "moved", "removed")
        }
        assert written == dict.fromkeys(written, 0)
    assert story.rows[3] == story.rows[2]


@each_shape
async def test_accounts_that_the_shape_has_no_trouble_with_are_left_without_an_issue(
    stories: Stories, shape: Shape
) -> None:
    story = await stories(shape)
    troubled = {account_id for each in story.comparison.sample for account_id in each.account_ids}
    assert story.issues.keys() <= troubled
    assert {RunStatus(state["status"]) for state in story.runs} <= {
        RunStatus.SUCCEEDED,
        RunStatus.COMPLETED_WITH_ISSUES,
    }


@each_shape
async def test_no_placeholder_is_ever_sent_upstream(stories: Stories, shape: Shape) -> None:
    story = await stories(shape)
    metrics = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY)
    assert all(
        account_id.startswith("acc-")
        for endpoint in metrics
        for account_id in story.sandbox.log.ids(endpoint)
    )
