"""Records inspections."""

import asyncio
import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from app.domain.ids import AccountId
from app.domain.issues.codes import Issue
from app.domain.runs.inspected import JUDGED, Inspected, InspectionFigures
from app.domain.states import Outcome
from app.domain.verdict.closing import ClosedAs
from app.store.claims.claim import Claim
from app.store.claims.fence import Fence
from app.store.database.pool import Database
from app.store.database.transaction import SWEEP_SECONDS, Connection
from app.store.results.acceptances import Acceptances
from app.store.results.issue_history import IssueHistory
from app.store.runs.run_queue import Queue, Queued

_JUDGED = sorted(JUDGED)


@dataclass(frozen=True, slots=True)
class FoundIssue:
    """An issue, open since then (None: closed)."""

    issue: str
    first_seen: dt.datetime | None


@dataclass(frozen=True, slots=True)
class FoundAccount:
    """An account's inspection."""

    account_id: str
    outcome: str
    detail: str | None
    issues: tuple[FoundIssue, ...]


class Inspections:
    """Writes and reads findings."""

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self._database = database
        self._history = IssueHistory(database)
        self._acceptances = Acceptances(database)
        self._lease_seconds = lease_seconds
        sql = database.queries("detect/inspections")
        self._enqueue, self._brokers = sql["enqueue_inspected"], sql["get_brokers"]
        self._note_few_hours, self._everywhere = sql["note_few_hours"], sql["get_everywhere"]
        self._release, self._record = sql["release_inspected"], sql["record_inspected"]
        self._note_figures, self._figures = (
            sql["note_inspection_figures"],
            sql["get_inspection_figures"],
        )
        self._list, self._undetailed = sql["list_inspected"], sql["get_undetailed_accounts"]
        self._fence = Fence(database)

    async def enqueue(
        self,
        queue: Queue,
        run_id: uuid.UUID,
        account_ids: Sequence[str] | None,
        *,
        limit: int | None,
        unread: Sequence[str],
        first: dt.date | None,
    ) -> Queued:
        """Queue disagreeing, open and `unread` accounts.

        Dates before `first` are ignored.
        """
        ids = None if account_ids is None else list(account_ids)
        row = await queue.connection.fetch_row(
            self._enqueue, run_id, ids, limit, list(unread), seconds=SWEEP_SECONDS
        )
        await queue.connection.execute(self._note_few_hours, run_id, ids, seconds=SWEEP_SECONDS)
        if ids is None and (
            rows := await queue.connection.fetch(self._everywhere, first, seconds=SWEEP_SECONDS)
        ):
            figures = InspectionFigures(
                everywhere=Counter({row["date"].isoformat(): row["accounts"] for row in rows})
            )
            await queue.connection.execute(self._note_figures, run_id, figures.as_json())
        return Queued(int(row["equal"]), int(row["skipped"])) if row else Queued()

    async def brokers(self, account_ids: Sequence[str]) -> dict[str, list[str]]:
        """Brokers by account."""
        return {
            row["account_id"]: row["brokers"]
            for row in await self._database.fetch(self._brokers, list(account_ids))
        }

    async def undetailed(self) -> list[AccountId]:
        """Disagreeing accounts without dated issue."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._undetailed, seconds=SWEEP_SECONDS)
        ]

    async def record(
        self,
        claim: Claim,
        found: Sequence[Inspected],
        count: Callable[[Collection[str]], InspectionFigures],
        seconds: float,
    ) -> list[str]:
        """Record a batch and release it; returns accounts still claimed."""
        issues = {each.account_id: each.issues for each in found if each.issues is not None}
        states, attempts = [*map(_state, found)], [*map(_attempt, found)]

        async def write(connection: Connection) -> list[str]:
            ids = [each.account_id for each in found]
            ours = await self._fence.lock_claims(
                connection, ids, claim.claim_id, self._lease_seconds
            )
            if not ours:
                return []
            judged = {account_id: each for account_id, each in issues.items() if account_id in ours}
            await self._history.close_and_open(
                connection, judged, _JUDGED, claim.run_id, {"closed_as": ClosedAs.GONE.value}
            )
            await connection.execute(self._release, states, claim.claim_id, _JUDGED)
            await self._settle_acceptances(connection, found, judged)
            mine = [attempt for attempt in attempts if attempt["account_id"] in ours]
            await connection.execute(self._record, claim.run_id, seconds, mine)
            figures = await asyncio.to_thread(lambda: count(ours).as_json())
            await connection.execute(self._note_figures, claim.run_id, figures)
            return sorted(ours)

        return await self._database.give_way(write)

    async def _settle_acceptances(
        self,
        connection: Connection,
        found: Sequence[Inspected],
        judged: Mapping[AccountId, Sequence[Issue]],
    ) -> None:
        seen = {
            each.account_id: each.seen
            for each in found
            if each.account_id in judged and each.seen is not None
        }
        again = await self._acceptances.settle(connection, judged, _JUDGED, seen=seen)
        # Inspections leave the account's status to its acceptances.
        await self._acceptances.count_again(connection, again)

    async def record_unread(self, claim: Claim, account_id: str, detail: str) -> None:
        """Record a failed inspection."""
        attempt = {
            "account_id": account_id,
            "outcome": Outcome.FAILED.value,
            "codes": [],
            "detail": detail,
        }
        state = {"account_id": account_id, "issues": None, "is_news": False}

        async def write(connection: Connection) -> None:
            if await self._fence.lock_claims(
                connection, [account_id], claim.claim_id, self._lease_seconds
            ):
                await connection.execute(self._release, [state], claim.claim_id, _JUDGED)
                await connection.execute(self._record, claim.run_id, 0, [attempt])

        await self._database.give_way(write)

    async def figures(self, run_id: uuid.UUID) -> InspectionFigures:
        """Figures so far."""
        rows = await self._database.fetch(self._figures, run_id, seconds=SWEEP_SECONDS)
        return await asyncio.to_thread(
            lambda: InspectionFigures.summed(row["figures"] for row in rows)
        )

    async def accounts(
        self, run_id: uuid.UUID, outcomes: Sequence[Outcome], after: str | None, limit: int
    ) -> list[FoundAccount]:
        """Accounts with given outcomes, by id after `after`."""
        found: dict[str, FoundAccount] = {}
        rows = await self._database.fetch(
            self._list,
            run_id,
            [each.value for each in outcomes],
            after,
            limit,
            seconds=SWEEP_SECONDS,
        )
        for row in rows:
            known = found.get(row["account_id"])
            issue = () if row["issue"] is None else (FoundIssue(row["issue"], row["opened_at"]),)
            issues = (*(known.issues if known else ()), *issue)
            found[row["account_id"]] = FoundAccount(
                row["account_id"], row["outcome"], row["detail"], issues
            )
        return list(found.values())


def _state(found: Inspected) -> dict[str, object]:
    issues = None if found.issues is None else [issue.as_json() for issue in found.issues]
    return {"account_id": found.account_id, "issues": issues, "is_news": found.is_news}


def _attempt(found: Inspected) -> dict[str, object]:
    return {
        "account_id": found.account_id,
        "outcome": _outcome(found),
        "codes": found.codes,
        "seen": found.seen,
    }


def _outcome(found: Inspected) -> str:
    if not found.entries:
        return Outcome.UNCHANGED.value
    return (Outcome.FOUND if found.is_news else Outcome.EXPLAINED).value
