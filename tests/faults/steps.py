"""The steps of a run as a test sees them from outside: by the statements on their way to
PostgreSQL, and by what upstream is asked.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from weakref import WeakKeyDictionary

from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.contract.tables import Endpoint
from app.store.database.queries import load_queries
from tests.conftest import SCHEMA


class Step(StrEnum):
    """Where a fault strikes, in the order of an audit."""

    SWEEP = "sweep"
    SCAN = "scan"
    CLAIM = "claim"
    FETCH = "fetch"
    STAGE = "stage"
    APPLY = "apply"
    VERIFY = "verify"
    RECORD = "record"


_STATEMENTS: Mapping[Step, tuple[str, str]] = {
    Step.SWEEP: ("detect/sweep", "create_swept"),
    Step.SCAN: ("detect/audit", "note_alltime"),
    Step.CLAIM: ("claims/claims", "claim_accounts"),
    Step.APPLY: ("change_feed", "lock_feed"),
    Step.VERIFY: ("detect/accounts", "look_at_accounts"),
    Step.RECORD: ("results/results", "record_attempts"),
}
"""The file of db/queries and the name of each step's statement; apply is the last one before its
commit.
"""


def _mark(file: str, name: str) -> bytes:
    """The longest part of a statement that is sent as it is written; KeyError if it has another
    name by now.
    """
    statement = load_queries(file, SCHEMA)[name]
    return max(re.split(r"\{\{\w+\}\}", statement), key=len).encode()


MARKS: Mapping[Step, bytes] = {
    step: _mark(*statement) for step, statement in _STATEMENTS.items()
} | {
    # Composed for each table, and in no file.
    Step.STAGE: b"WITH registered AS MATERIALIZED",
}
"""A text that only the statements of the step hold. The fetch has none: it is seen at upstream."""
_LONGEST_MARK = max(len(mark) for mark in MARKS.values())

Reached = Callable[[Step], Awaitable[None]]
"""Is awaited when a step is reached, before its statement or request goes on."""


class Course:
    """How far a run is; a statement or request is a step only after those before it.

    Maintenance writes as well, and detects as verification does.
    """

    def __init__(self, reached: Reached) -> None:
        """`reached` is awaited once for each step, in their order."""
        self._reached = reached
        self._ahead = list(Step)

    async def seen(self, step: Step) -> None:
        """A statement or request of the kind that the step sends is on its way."""
        if self._ahead and self._ahead[0] is step:
            del self._ahead[0]
            await self._reached(step)


class StatementWatch:
    """Recognises steps in what a client sends to PostgreSQL; it must send each statement's text, so
    with a statement cache of 0.
    """

    def __init__(self, reached: Reached) -> None:
        self._reached = reached
        self._tails: WeakKeyDictionary[object, bytes] = WeakKeyDictionary()

    async def __call__(self, connection: object, piece: bytes) -> None:
        text = self._tails.get(connection, b"") + piece
        self._tails[connection] = text[-_LONGEST_MARK:]
        for step, mark in MARKS.items():
            # A mark may lie across two pieces, and must not count in both: what is left of the
            # piece before is shorter than it.
            if mark in text[-len(piece) - len(mark) + 1 :]:
                await self._reached(step)


@dataclass(slots=True)
class FetchBell:
    """What is awaited when a batch asks upstream; None: nothing."""

    reached: Reached | None = None


class FetchWatch:
    """Tells when a batch asks upstream; the scan of all accounts, which names none, is not that."""

    def __init__(self, app: ASGIApp, bell: FetchBell) -> None:
        self._app = app
        self._bell = bell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._bell.reached and scope["type"] == "http" and scope["path"].startswith("/v2/"):
            asks = scope["query_string"].decode()
            if (
                "accountIds" in asks
                or "logins" in asks
                or not scope["path"].endswith(Endpoint.ALLTIME.value)
            ):
                await self._bell.reached(Step.FETCH)
        await self._app(scope, receive, send)
