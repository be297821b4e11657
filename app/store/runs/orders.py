"""Orders by people, recorded and logged."""

import uuid
from typing import Literal

from app.store.database.pool import Database
from app.store.database.transaction import Record
from app.telemetry import get_logger

Ordered = Literal[
    "start",
    "pause",
    "resume",
    "cancel",
    "confirm",
    "restore",
    "release",
    "maintenance",
    "accept",
    "unaccept",
]

_log = get_logger(__name__)
_SHOWN = 100


class Orders:
    """Records orders, and reads those of a run."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.queries("runs/orders")
        self._note, self._of_run = sql["note_order"], sql["get_orders_of_run"]

    async def note(
        self,
        ordered: Ordered,
        run_id: uuid.UUID | None = None,
        reason: str | None = None,
        **figures: object,
    ) -> None:
        """Record an order carried out; `figures` are only logged."""
        await self._database.execute(self._note, ordered, run_id, reason)
        _log.info(
            "An order was given.",
            action=f"order.{ordered}",
            **({} if run_id is None else {"run_id": str(run_id)}),
            reason=reason,
            **figures,
        )

    async def of_run(self, run_id: uuid.UUID) -> list[Record]:
        """The orders about a run, oldest first."""
        return await self._database.fetch(self._of_run, run_id, _SHOWN)
