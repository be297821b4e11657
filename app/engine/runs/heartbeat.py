"""A process's heartbeat and hindrance."""

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.domain.runs.waits import Hindrance, WaitReason
from app.errors import ReconError, WriteConflict
from app.store.claims.claims import Claims
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

if TYPE_CHECKING:
    from app.domain.ids import RunId


_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Conflict:
    """A wait for rows; monotonic times."""

    reason: str
    since: float
    next_try: float


class Heartbeat:
    """Keeps claims alive, of `only_run` if set."""

    def __init__(self, claims: Claims, client: UpstreamClient, lease_seconds: float) -> None:
        self._claims = claims
        self._client = client
        self._lease_seconds = lease_seconds
        self._conflict: _Conflict | None = None
        self.only_run: RunId | None = None

    async def keep(self) -> None:
        """Beat four times a lease, forever."""
        while True:
            await self.beat()
            await asyncio.sleep(self._lease_seconds / 4)

    async def beat(self) -> bool:
        """Send a heartbeat; whether it succeeded."""
        try:
            lost = await self._claims.beat(self.hindrance, self.only_run)
        except ReconError as error:
            _log.warning(
                "A heartbeat was missed.", action="worker.heartbeat_missed", reason=str(error)
            )
            return False
        if lost:
            _log.warning(
                "The lease had expired: the claims of this process were released.",
                action="worker.lapsed",
                accounts=lost,
            )
        return True

    @property
    def hindrance(self) -> Hindrance | None:
        """The obstacle to work here."""
        if (found := self._client.hindrance) is not None or self._conflict is None:
            return found
        now = time.monotonic()
        return Hindrance(
            WaitReason.LOCKS,
            now - self._conflict.since,
            self._conflict.reason,
            max(0.0, self._conflict.next_try - now),
        )

    def note_conflict(self, error: ReconError, pause: float) -> None:
        """Note a WriteConflict, but no lost PostgreSQL."""
        if isinstance(error, WriteConflict):
            now = time.monotonic()
            since = self._conflict.since if self._conflict else now
            self._conflict = _Conflict(str(error).rstrip("."), since, now + pause)

    def note_work(self) -> None:
        """Note a turn without conflict."""
        self._conflict = None
