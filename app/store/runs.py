"""Runs, attempts and the history of issues: what was done, for whom, and how it ended."""

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import msgspec

from app.domain.issues import Issue
from app.domain.models import Effort, Outcome, RunKind, RunStatus
from app.errors import NotFound
from app.store.claims import Claim, FirstPass
from app.store.pool import SWEEP_SECONDS, Connection, Database, Record
from app.store.wake import wake_channel


class RunRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run was asked to do: its kind, at most how many accounts (None: all), or which ones (None: those that need it)."""

    kind: RunKind = RunKind.FULL
    max_accounts: int | None = None
    account_ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run that is not over; `prepared` once its accounts are known."""

    run_id: uuid.UUID
    request: RunRequest
    prepared: bool


@dataclass(frozen=True, slots=True)
class AccountResult:
    """How one account left a batch: `failing` if this costs it an attempt, `signature` what detection saw of it at the end.

    With `postponed` nothing is settled yet: the account goes back into the run, to be claimed once more behind all others.
    When it was, `before` is what the run had found and done by then; `found` and `effort` are of this batch alone.
    """

    account_id: str
    outcome: Outcome
    found: tuple[Issue, ...]
    left: tuple[Issue, ...]
    effort: Effort
    failing: bool
    signature: str
    detail: str | None
    postponed: bool = False
    before: FirstPass = field(default_factory=FirstPass)

    @property
    def codes_found(self) -> list[str]:
        """The codes of all issues with which the account came into the run, and of those that came up since."""
        now = [issue.code for issue in self.found]
        return [*now, *sorted(self.before.found - set(now))]

    @property
    def whole_effort(self) -> Effort:
        """What the whole run did for the account."""
        now, before = asdict(self.effort), asdict(self.before.effort)
        return Effort(**{name: now[name] + before[name] for name in now})


@dataclass(frozen=True, slots=True)
class Terms:
    """What becomes of accounts that fail.

    `max_attempts` failures in a row exhaust one, `next_attempt` tells from their number when it may be tried again. A postponed
    one may be claimed again after `postpone_seconds`; in a run of named accounts, for which people wait, after
    `postpone_named_seconds`.
    """

    max_attempts: int
    next_attempt: Callable[[int], dt.datetime]
    postpone_seconds: float
    postpone_named_seconds: float


class Runs:
    """The record of runs."""

    def __init__(self, database: Database) -> None:
        """Read the statements; a missing one fails when it is first used by a test of this class."""
        self._database = database
        self._sql = database.queries("runs")

    async def create(self, request: RunRequest) -> uuid.UUID:
        """A new run that waits for a worker; the processes that listen are told."""
        run_id = uuid.uuid4()
        async with self._database.transaction() as connection:
            await connection.execute(self._sql["create_run"], run_id, request.kind.value, msgspec.to_builtins(request))
            await connection.execute(self._sql["notify_workers"], wake_channel(self._database.schema), str(run_id))
        return run_id

    async def get(self, run_id: uuid.UUID) -> Record:
        """The run as it stands; NotFound if there is none."""
        row = await self._database.fetch_row(self._sql["get_run"], run_id)
        if row is None:
            raise NotFound(f"There is no run {run_id}.")
        return row

    async def active(self, run_id: uuid.UUID | None = None) -> list[ActiveRun]:
        """Runs that are not over (or this one, if it is not), those that people wait for first."""
        rows = await self._database.fetch(self._sql["find_active_run"], run_id)
        return [
            ActiveRun(row["run_id"], msgspec.convert({**row["request"], "kind": row["kind"]}, RunRequest), row["prepared"]) for row in rows
        ]

    async def take_preparation(self, run_id: uuid.UUID, worker_id: uuid.UUID, lease_seconds: float) -> bool:
        """Whether this worker is the one to prepare the run."""
        return await self._database.fetch_value(self._sql["take_preparation"], run_id, worker_id, lease_seconds) is not None

    async def enqueue_mismatched(self, run_id: uuid.UUID, *, retry: bool, limit: int | None) -> int:
        """Put mismatched accounts into the run; the number of those that are left out since they back off."""
        row = await self._database.fetch_row(self._sql["enqueue_mismatched"], run_id, retry, limit, seconds=SWEEP_SECONDS)
        return int(row["skipped"]) if row else 0

    async def enqueue_accounts(self, run_id: uuid.UUID, account_ids: Sequence[str]) -> None:
        """Put named accounts into the run."""
        await self._database.execute(self._sql["enqueue_accounts"], run_id, list(account_ids))

    async def enqueue_audited(
        self, run_id: uuid.UUID, account_ids: Sequence[str] | None, *, limit: int | None, unanswered: Sequence[str]
    ) -> tuple[int, int]:
        """Put the accounts that an audit found different into the run, but those that upstream did not answer about.

        The number of accounts that are equal, and of those left out since they back off or since there are more than `limit`.
        """
        ids = None if account_ids is None else list(account_ids)
        row = await self._database.fetch_row(self._sql["enqueue_audited"], run_id, ids, limit, list(unanswered), seconds=SWEEP_SECONDS)
        return (int(row["equal"]), int(row["skipped"])) if row else (0, 0)

    async def count_accounts(self) -> int:
        """How many accounts are known."""
        return int(await self._database.fetch_value(self._sql["count_accounts"]))

    async def oldest_accounts(self, limit: int) -> list[str]:
        """The accounts that were not checked for the longest time."""
        return [row["account_id"] for row in await self._database.fetch(self._sql["get_oldest_accounts"], limit)]

    async def finish_preparation(self, run_id: uuid.UUID, *, skipped: int, unchanged: int, maintenance: Mapping[str, object]) -> None:
        """Let the batches begin."""
        await self._database.execute(self._sql["finish_preparation"], run_id, skipped, unchanged, dict(maintenance))

    async def finish(self, run_id: uuid.UUID) -> bool:
        """End the run if nothing of it waits any more; whether this call ended it."""
        state = await self._database.fetch_row(self._sql["get_run_state"], run_id)
        if state is None or state["waiting"] or state["status"] != RunStatus.RUNNING:
            return False
        status = RunStatus.COMPLETED_WITH_ISSUES if state["has_issues"] else RunStatus.SUCCEEDED
        ended = await self._database.fetch_value(self._sql["finish_run"], run_id, status.value) is not None
        if ended:
            await self._database.execute(self._sql["clear_scan"], run_id)
        return ended

    async def end_early(self, run_id: uuid.UUID, status: RunStatus, reason: str) -> None:
        """End a run that cannot go on; its waiting accounts are taken out of it and none is blamed."""
        await self._database.execute(self._sql["fail_run"], run_id, status.value, reason)
        await self._database.execute(self._sql["clear_scan"], run_id)

    async def add_phase(self, run_id: uuid.UUID, phase: str, seconds: float) -> None:
        """Add time spent in a phase."""
        await self._database.execute(self._sql["add_phase_seconds"], run_id, phase, str(round(seconds, 3)))

    async def set_api_statistics(self, run_id: uuid.UUID, worker_id: uuid.UUID, statistics: Mapping[str, object]) -> None:
        """Keep this worker process's API statistics for the run."""
        await self._database.execute(self._sql["set_api_statistics"], run_id, str(worker_id), dict(statistics))

    async def add_effort(self, run_id: uuid.UUID, efforts: Sequence[Effort], requests: int) -> None:
        """Count what belongs to no recorded account: an audit's scan, a batch that broke off."""
        await self._database.execute(self._sql["count_batch"], run_id, 0, 0, 0, 0, 0, requests, *_rows(efforts), 0)

    async def record(
        self,
        claim: Claim,
        results: Sequence[AccountResult],
        *,
        seconds: float,
        requests: int,
        terms: Terms,
        judged: Sequence[str],
    ) -> list[str]:
        """Record a batch and release its accounts, in one transaction; the accounts that were still ours.

        `seconds` is what the batch took, `requests` what it sent, `terms` are for accounts that failed, `judged` are the issue
        codes on which this look has the last word. Of postponed accounts only the effort counts now.
        """

        async def write(connection: Connection) -> list[str]:
            ids = [result.account_id for result in results]
            locked = await connection.fetch(self._sql["lock_recorded"], ids, claim.claim_id, claim.run_id)
            ours = {row["account_id"] for row in locked}
            mine = [result for result in results if result.account_id in ours and not result.postponed]
            later = [result for result in results if result.account_id in ours and result.postponed]
            failures = {
                row["account_id"]: row["failed_attempts"] for row in await connection.fetch(self._sql["get_failed_attempts"], sorted(ours))
            }
            await self._record_issues(
                connection, {result.account_id: result.left for result in mine}, judged, claim.run_id, _closing(mine, claim)
            )
            await connection.execute(self._sql["record_attempts"], claim.run_id, seconds, [_attempt(result) for result in mine])
            await connection.execute(
                self._sql["record_accounts"],
                [
                    {
                        "account_id": result.account_id,
                        "outcome": result.outcome.value,
                        "issues": [issue.as_json() for issue in result.left],
                        "failing": result.failing,
                        "signature": result.signature,
                        "next_attempt_at": terms.next_attempt(failures[result.account_id] + 1).isoformat() if result.failing else None,
                    }
                    for result in mine
                ],
                terms.max_attempts,
            )
            if later:
                attempts = [_attempt(result) for result in later]
                pauses = terms.postpone_seconds, terms.postpone_named_seconds
                await connection.execute(self._sql["postpone_accounts"], claim.run_id, seconds, attempts, *pauses)
            await connection.execute(self._sql["count_batch"], claim.run_id, *_batch_counts(mine, later, requests))
            return sorted(ours)

        return await self._database.give_way(write)

    async def record_issues(self, found: Mapping[str, Sequence[Issue]], judged: Sequence[str], *, note: str) -> None:
        """Replace the open issues of accounts, of the codes that were judged, outside a run; history is kept."""
        closing: dict[str, object] = {account_id: {"closed_by": note} for account_id in found}
        entries = [{"account_id": account_id, "issues": [issue.as_json() for issue in issues]} for account_id, issues in found.items()]

        async def write(connection: Connection) -> None:
            await self._record_issues(connection, found, judged, None, closing)
            await connection.execute(self._sql["merge_issues"], entries, list(judged))

        await self._database.give_way(write)

    async def open_issues(self, run_id: uuid.UUID, found: Mapping[str, Sequence[Issue]]) -> None:
        """Note in the history what detection found, before anything is healed."""
        entries = _history_entries(found)
        if entries:
            await self._database.execute(self._sql["open_issues"], entries, run_id)

    async def _record_issues(
        self,
        connection: Connection,
        found: Mapping[str, Sequence[Issue]],
        judged: Sequence[str],
        run_id: uuid.UUID | None,
        closing: Mapping[str, object],
    ) -> None:
        entries = _history_entries(found)
        await connection.execute(self._sql["close_issues"], list(found), entries, list(judged), run_id, dict(closing))
        await connection.execute(self._sql["open_issues"], entries, run_id)


def _history_entries(found: Mapping[str, Sequence[Issue]]) -> list[dict[str, object]]:
    return [
        {"account_id": account_id, "type": issue.code.value, "severity": int(issue.severity), "evidence": issue.as_json()}
        for account_id, issues in found.items()
        for issue in issues
    ]


def _closing(results: Sequence[AccountResult], claim: Claim) -> dict[str, object]:
    """The evidence with which an account's issues are closed: what the heal wrote before the check found them gone."""
    return {
        result.account_id: {
            "closed_by": "detection after the heal",
            "run_id": str(claim.run_id),
            "outcome": result.outcome.value,
            **asdict(result.whole_effort),
        }
        for result in results
    }


def _attempt(result: AccountResult) -> dict[str, object]:
    effort = result.whole_effort
    return {
        "account_id": result.account_id,
        "outcome": result.outcome.value,
        "requests": effort.requests,
        "inserted": effort.inserted,
        "updated": effort.updated,
        "moved": effort.moved,
        "removed": effort.removed,
        "set_aside": effort.set_aside,
        "nulled": effort.values_nulled,
        "found": result.codes_found,
        "remaining": [issue.code.value for issue in result.left],
        "detail": result.detail,
    }


def _batch_counts(results: Sequence[AccountResult], postponed: Sequence[AccountResult], requests: int) -> tuple[int, ...]:
    outcomes = Counter(result.outcome for result in results)
    return (
        *(outcomes[outcome] for outcome in (Outcome.UNCHANGED, Outcome.HEALED, Outcome.EXPLAINED, Outcome.PARTIAL, Outcome.FAILED)),
        requests,
        *_rows([result.effort for result in (*results, *postponed)]),
        len(postponed),
    )


def _rows(efforts: Sequence[Effort]) -> tuple[int, ...]:
    """What efforts wrote together, in the order of the run's columns."""
    return (
        sum(effort.inserted for effort in efforts),
        sum(effort.updated for effort in efforts),
        sum(effort.moved for effort in efforts),
        sum(effort.removed for effort in efforts),
        sum(effort.set_aside for effort in efforts),
        sum(effort.values_nulled for effort in efforts),
    )
