"""The bound on rows a second: kept by waiting, and by smaller transactions."""

import asyncio

import pytest

from app.store.write_pace import CHUNK_ROWS, WritePace


async def test_rows_are_never_written_faster_than_the_rate_after_the_first_second() -> None:
    pace = WritePace(200)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for rows in (150, 150, 20, 280):
        await pace.spend(rows)
    # 600 rows at 200 a second, of which a second's worth may go at once.
    assert loop.time() - begun >= 1.9


async def test_without_a_rate_nothing_waits() -> None:
    pace = WritePace()
    begun = asyncio.get_running_loop().time()
    for _ in range(1000):
        await pace.spend(1_000_000)
    # A rate that let a billion rows pass unnoticed would be none.
    assert asyncio.get_running_loop().time() - begun < 60


@pytest.mark.parametrize(
    ("rate", "most", "chunk"),
    [(None, CHUNK_ROWS, CHUNK_ROWS), (None, 500, 500), (30, 500, 30), (1, 500, 1), (1e6, 500, 500)],
)
async def test_a_transaction_writes_no_more_than_a_second_may(
    rate: float | None, most: int, chunk: int
) -> None:
    assert WritePace(rate).chunk(most) == chunk
