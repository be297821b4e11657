"""Each shape's story is lived through once, when the first test asks for it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from tests.conftest import Server
from tests.support.warehouses.shape import Shape
from tests.support.warehouses.story import Story, tell

Stories = Callable[[Shape], Awaitable[Story]]


@pytest.fixture(scope="session")
async def stories(postgres: Server) -> AsyncIterator[Stories]:
    """What became of a warehouse of a shape."""
    told: dict[str, Story] = {}
    async with AsyncExitStack() as stack:

        async def ask(shape: Shape) -> Story:
            if shape.name not in told:
                told[shape.name] = await tell(postgres, shape, stack)
            return told[shape.name]

        yield ask
