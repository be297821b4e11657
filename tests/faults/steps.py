"""The steps of a run as a test sees them from outside: by the statements on their way to PostgreSQL, and by what upstream is asked."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from weakref import WeakKeyDictionary

from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.contract import Endpoint


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


_MARKS: Mapping[Step, bytes] = {
    Step.SWEEP: b"TEMP TABLE recon_swept ON COMMIT DROP",
    Step.SCAN: b"AS shared_id, p.*",
    Step.CLAIM: b"due AS MATERIALIZED",
    Step.STAGE: b"registered AS MATERIALIZED",
    Step.APPLY: b"hashtext('trade-recon changes')",
    Step.VERIFY: b"stored_mismatched_days",
    Step.RECORD: b"issues_left = ARRAY",
}
"""A text that only the statements of the step hold; the fetch is seen at upstream. Apply is the last statement before its commit."""
_LONGEST_MARK = 64

Reached = Callable[[Step], Awaitable[None]]
"""Is awaited when a step is reached, before its statement or request goes on."""


class StatementWatch:
    """Recognises steps in what a client sends to PostgreSQL; it must send each statement's text, so with a statement cache of 0."""

    def __init__(self, reached: Reached) -> None:
        self._reached = reached
        self._tails: WeakKeyDictionary[object, bytes] = WeakKeyDictionary()

    async def __call__(self, connection: object, piece: bytes) -> None:
        # A mark may lie across two pieces, and must not count in both.
        tail = self._tails.get(connection, b"")
        text = tail + piece
        self._tails[connection] = text[-_LONGEST_MARK:]
        for step, mark in _MARKS.items():
            if mark in text and mark not in tail:
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
            if "accountIds" in asks or "logins" in asks or not scope["path"].endswith(Endpoint.ALLTIME.value):
                await self._bell.reached(Step.FETCH)
        await self._app(scope, receive, send)
