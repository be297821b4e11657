"""What a warehouse of a certain shape is: its tables, its upstream, its damage, and what its keys
cannot hold.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.domain.contract.tables import Endpoint
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.world.world import World
from tests.support.warehouses.worlds import world

HEALABLE = frozenset(DamageKind) - {DamageKind.SECOND_HOLDER}


@dataclass(frozen=True)
class Shape:
    """A warehouse as its owner made it before trade-recon came.

    `tables` is the SQL that makes it, in order; `rows` what the owner's other jobs put in besides
    ingestion; `narrow` the unique keys under which rows of upstream may collide; `role` the name of
    the role that trade-recon works as, where it is not the owner; `grants` what the owner runs for
    it. In all SQL `SCHEMA.` and THIS_SCHEMA stand for the schema, SERVICE_ROLE for the role.
    """

    name: str
    schema: str
    tables: tuple[str, ...]
    world: Callable[[], World] = world
    rows: tuple[str, ...] = ()
    narrow: Mapping[Endpoint, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    kinds: frozenset[DamageKind] = HEALABLE
    damage: tuple[str, ...] = ()
    role: bool = False
    grants: tuple[str, ...] = ()
    seed: int = 1
