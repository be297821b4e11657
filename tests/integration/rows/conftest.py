"""A small world that never contradicts itself, and a warehouse that ingestion filled from it; each
test gets a copy.
"""

from app.sandbox.world.world import World
from tests.support.clock import TODAY
from tests.support.worlds import world_fixtures


def world() -> World:
    """The same world each time."""
    return World.generate(
        12, seed=16, today=TODAY, trades_per_account=12, days=30, contradictory=False
    )


filled, warehouse, sandbox = world_fixtures("rows", world)
