"""Runs, attempts and the history of issues: what was done, for whom, and how it ended."""

import asyncio
import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from app.domain.accounts.hold import Rewritten, Shown
from app.domain.accounts.progress import Effort
from app.domain.holds.limits import HoldLimits
from app.domain.holds.run_guard import undoing
from app.domain.issues.codes import Issue, IssueCode
from app.domain.runs.emptiness import nothing_known
from app.domain.runs.leftovers import ACTING_BESIDE_HELD, status_of
from app.domain.runs.request import IdempotencyKey, RunRequest
from app.domain.states import Outcome, RunStatus
from app.domain.verdict.closing import GONE, ClosedAs, Closing
from app.domain.wording.counts import counted
from app.errors import Conflict, NotFound
from app.store.database.listen import wake_channel
from app.store.database.pool import Database
from app.store.database.transaction import SWEEP_SECONDS, Connection, Record
from app.store.runs.acceptances import Acceptances
from app.store.runs.claims import Claim, FirstPass
from app.store.runs.fence import Fence
from app.store.runs.leftovers import RunLeftovers
from app.telemetry import get_logger

_log = get_logger(__name__)
_REOPENING = (172_800, 1_800)
"""Seconds: an issue opened again in the same place within two days of being healed, or anywhere
within half an hour, flaps.
"""


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run that is being worked on; `prepared` once its accounts are known.

    `total` is the number of its accounts, `recorded` of those that batches are done with, or that
    were equal; `rows_compared` counts the stored rows that these had where upstream was read. What
    was held until `confirmed_at` was let through by somebody. `suspicion` says why upstream is
    suspect, where that was found out already.

    `searched` are the requests that it spent so far on finding accounts that make requests fail,
    `searched_known` those for accounts that had failed before. It compares dates from
    `history_from` on (None: all).
    """

    run_id: uuid.UUID
    request: RunRequest
    prepared: bool
    confirmed_at: dt.datetime | None = None
    suspicion: str | None = None
    total: int = 0
    recorded: int = 0
    rows_compared: int = 0
    searched: int = 0
    searched_known: int = 0
    history_from: dt.date | None = None

    @property
    def confirmed(self) -> bool:
        """Whether somebody confirmed what it had held."""
        return self.confirmed_at is not None


@dataclass(frozen=True, slots=True)
class Explained:
    """How many times in a row upstream was asked in vain about what is explained, and when (aware)
    it is asked again.
    """

    times: int
    ask_again_at: dt.datetime


@dataclass(frozen=True, slots=True)
class AccountResult:
    """How one account left a batch: `failing` if this costs it an attempt, `signature` what
    detection saw at the end if it is explained.

    Its next failure says when it may be tried again; one that is held back without a failure is
    `held_until`. With `left` None it could not even be looked at, and its open issues stay as they
    are.

    With `postponed` nothing is settled yet: the account goes back into the run, to be claimed once
    more behind all others; with `untried` not by this run: it only failed together with others, and
    waits for the next one. When it was, `before` is what the run had found and done by then;
    `found` and `effort` are of this batch alone. `closings` tell as what issues are closed that are
    not left, `shown` what confirming lets through of one that needs confirmation; it is
    `newly_held` if it did not need that before the run. `compared` are the figures of a comparison
    of its rows, by table (None: only counts were compared). `seen` is a digest of how its tables
    disagree at the end (None: nothing is left).
    """

    account_id: str
    outcome: Outcome
    found: tuple[Issue, ...]
    left: tuple[Issue, ...] | None
    effort: Effort
    failing: bool
    signature: str
    detail: str | None
    postponed: bool = False
    untried: bool = False
    before: FirstPass = field(default_factory=FirstPass)
    held_until: dt.datetime | None = None
    closings: Mapping[IssueCode, Closing] = field(default_factory=dict)
    explained: Explained | None = None
    shown: Shown | None = None
    newly_held: bool = False
    compared: Mapping[str, Mapping[str, int]] | None = None
    seen: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the account is as good as it can be: what was rewritten of it until now no longer
        counts against it.

        One whose issues are only explained is not whole if this run rewrote something: it might go
        on losing rows night by night.
        """
        return self.outcome in (Outcome.UNCHANGED, Outcome.HEALED) or (
            self.outcome is Outcome.EXPLAINED and not self.whole_effort.rewritten
        )

    @property
    def codes_found(self) -> list[str]:
        """The codes of all issues with which the account came into the run, and of those that came
        up since.
        """
        now = [issue.code for issue in self.found]
        return [*now, *sorted(self.before.found - set(now))]

    @property
    def whole_effort(self) -> Effort:
        """What the whole run did for the account."""
        return self.effort + self.before.effort

    @property
    def is_quiet(self) -> bool:
        """Whether there was nothing to heal, and nothing at all was done: only that is to be noted,
        at little cost for many.
        """
        return (
            self.outcome is Outcome.UNCHANGED
            and self.left == ()
            and not (self.found or self.failing or self.postponed or self.detail or self.held_until)
            and not self.before.found
            and not self.effort
            and not self.before.effort
            and self.compared is None
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms results are recorded, and what becomes of accounts that fail.

    A worker that said nothing for `lease_seconds` records nothing.

    `max_attempts` failures in a row exhaust one, `next_attempt` tells from their number when it may
    be tried again. A postponed one may be claimed again after `postpone_seconds`; in a run of named
    accounts, for which people wait, after `postpone_named_seconds`.

    Times are reckoned from `now`, this process's clock. The database adds the wait to its own
    clock, by which it ends; None: as they are. What is accepted until `today`, the business date,
    is so no more.
    """

    max_attempts: int
    next_attempt: Callable[[int], dt.datetime]
    postpone_seconds: float
    postpone_named_seconds: float
    lease_seconds: float
    now: dt.datetime | None = None
    today: dt.date | None = None


class Runs:
    """The record of runs."""

    def __init__(self, database: Database) -> None:
        """Read the statements; a missing one fails when it is first used by a test of this
        class.
        """
        self._database = database
        self._sql = database.queries("runs")
        self._unreadable = set[uuid.UUID]()
        self._fence = Fence(database)
        self._leftovers = RunLeftovers(database)
        self._acceptances = Acceptances(database)

    async def create(self, request: RunRequest, key: IdempotencyKey | None = None) -> uuid.UUID:
        """A new run that waits for a worker, or the one that was started with the key; the
        processes that listen are told.

        Raises Conflict if the key came with another request before, or if the run must be the only
        one and another is active.
        """
        run_id = uuid.uuid4()
        kept = None if key is None else key.key, None if key is None else key.digest
        while True:
            async with self._database.transaction() as connection:
                values = (
                    run_id,
                    request.kind.value,
                    msgspec.to_builtins(request),
                    request.stop_at,
                    request.is_sole,
                )
                if (
                    await connection.fetch_value(self._sql["create_run"], *values, *kept)
                    is not None
                ):
                    await connection.execute(
                        self._sql["notify_workers"],
                        wake_channel(self._database.schema),
                        str(run_id),
                    )
                    return run_id
            if key is not None and (known := await self.of_key(key)) is not None:
                return known
            sole = await self._database.fetch_row(self._sql["get_sole_run"])
            if sole is not None:
                raise Conflict(
                    f"A full run is {sole['status']} already: {sole['run_id']}. No run was started;"
                    " look at that one, or cancel it first.",
                    sole["run_id"],
                )
            # What was in the way ended in between.

    async def of_key(self, key: IdempotencyKey) -> uuid.UUID | None:
        """The run that was started with the key, if any; Conflict if that was for another
        request.
        """
        row = await self._database.fetch_row(self._sql["get_run_of_key"], key.key)
        if row is None:
            return None
        if row["request_digest"] != key.digest:
            raise Conflict(
                f"The Idempotency-Key was used before, for another request (run {row['run_id']})."
                " No run was started; use a new key.",
                row["run_id"],
            )
        return uuid.UUID(str(row["run_id"]))

    async def get(self, run_id: uuid.UUID) -> Record:
        """The run as it stands; NotFound if there is none."""
        row = await self._database.fetch_row(self._sql["get_run"], run_id)
        if row is None:
            raise NotFound(f"There is no run {run_id}.")
        return row

    async def listed(
        self,
        statuses: Sequence[str] | None,
        kinds: Sequence[str] | None,
        before: uuid.UUID | None,
        limit: int,
        today: dt.date | None = None,
    ) -> list[Record]:
        """Runs, newest first, at most `limit`: of these states and kinds (None: of any), and older
        than the run `before`.

        What they hold, and their states, are those of a date (None: the server's).
        Raises NotFound if there is no such run.
        """
        if before is not None:
            await self.get(before)
        return await self._database.fetch(
            self._sql["list_runs"], statuses, kinds, before, limit, ACTING_BESIDE_HELD, today
        )

    async def held_accounts(
        self, run_id: uuid.UUID, limit: int, today: dt.date | None = None
    ) -> list[Record]:
        """The first accounts that the run holds on a date (None: the server's), with the reason."""
        return await self._database.fetch(self._sql["get_run_held"], run_id, limit, today)

    async def pinned_rows(self, run_id: uuid.UUID) -> int:
        """How many rows of the run's accounts were pinned before it ended, and are to this
        moment.
        """
        return int(await self._database.fetch_value(self._sql["count_pinned_rows"], run_id))

    async def still_held(self, run_id: uuid.UUID, today: dt.date | None = None) -> int:
        """How many of the accounts that the run held are held to this moment; what is accepted
        until `today` or before counts again.
        """
        return int(await self._database.fetch_value(self._sql["count_still_held"], run_id, today))

    async def gone_accounts(self, run_id: uuid.UUID, limit: int) -> list[str]:
        """The first accounts that were deleted from trade_recon while they waited in the run."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._sql["get_gone_accounts"], run_id, limit)
        ]

    async def active(
        self, run_id: uuid.UUID | None = None, *, named: bool = False, local: bool = False
    ) -> list[ActiveRun]:
        """Runs to be worked on (or this one, if it is), those that people wait for first.

        With `named` only those of few named accounts, with `local` only those that ask nothing of
        upstream.
        """
        runs = [
            self._readable(row)
            for row in await self._database.fetch(
                self._sql["find_active_run"], run_id, named, local
            )
        ]
        return [run for run in runs if run is not None]

    async def left(self, worker_id: uuid.UUID, lease_seconds: float) -> list[Record]:
        """Runs (`run_id`, `kind`, `created_at`) that processes left which are gone, oldest first;
        none while another one lives.
        """
        return await self._database.fetch(self._sql["get_left_runs"], worker_id, lease_seconds)

    def _readable(self, row: Record) -> ActiveRun | None:
        """The run of a row; None for one that another version of trade-recon wrote and this one
        cannot read: it is left to that one.
        """
        try:
            request = msgspec.convert({**row["request"], "kind": row["kind"]}, RunRequest)
        except (msgspec.ValidationError, TypeError) as error:
            if row["run_id"] not in self._unreadable:
                self._unreadable.add(row["run_id"])
                _log.warning(
                    "A run asks for what this version of trade-recon does not know; it is left to"
                    " processes that do, all others go on. Cancel it if there are none.",
                    action="run.unreadable",
                    run_id=str(row["run_id"]),
                    reason=str(error),
                )
            return None
        return ActiveRun(
            row["run_id"],
            request,
            row["prepared"],
            row["confirmed_at"],
            row["suspicion"],
            row["total"],
            row["recorded"],
            row["rows_compared"],
            row["search_requests"],
            row["known_search_requests"],
            row["history_from"],
        )

    async def result(self, run_id: uuid.UUID) -> tuple[list[Record], list[Record]]:
        """What a run did to rows, by table, date and broker, and for which issues; NotFound if
        there is no such run.
        """
        await self.get(run_id)
        rows = await self._database.fetch(
            self._sql["get_run_result"], run_id, seconds=SWEEP_SECONDS
        )
        return rows, await self._database.fetch(
            self._sql["get_run_issues"], run_id, seconds=SWEEP_SECONDS
        )

    async def count_accounts(self) -> int:
        """How many accounts are known."""
        return int(await self._database.fetch_value(self._sql["count_accounts"]))

    async def oldest_accounts(self, limit: int) -> list[str]:
        """The accounts that were not checked for the longest time."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._sql["get_oldest_accounts"], limit)
        ]

    async def finish(
        self, run_id: uuid.UUID, guard: HoldLimits, today: dt.date | None = None
    ) -> bool:
        """End the run if nothing of it waits any more; whether this call ended it.

        What is accepted until `today` or before counts.

        One that was stopped, or that held all that it had to do, needs confirmation as long as
        anything of it waits for that; one that held only some of its accounts is completed with
        issues, and can be confirmed as well.
        """
        state = await self._database.fetch_row(self._sql["get_run_state"], run_id)
        if state is None or state["waiting"] or state["status"] != RunStatus.RUNNING:
            return False
        reason, is_stopped = None, False
        held, total = state["needs_confirmation"], state["total"]
        still = await self.still_held(run_id, today) if held else 0
        left = await self._leftovers.of(run_id, today)
        # What was held and is so no more cannot be confirmed, and what it came to was confirmed: no
        # word lets such a run go on.
        is_settled = not still and (
            held > 0 or (state["only_confirmed"] and not state["unreached"])
        )
        if not is_settled and (
            state["suspicion"] is not None or guard.suspects(state["lowered"], total)
        ):
            # Each process judges by what it knows of the others: here all of it is known.
            is_stopped = True
            reason = state["suspicion"] or guard.suspicion(
                state["lowered"], total, state["rewritten"]
            ) + undoing(run_id)
        elif 0 < still == total:
            is_stopped = True
            reason = (
                "The only account of the run is held."
                if still == 1
                else f"All {still} accounts of the run are held."
            )
        status = status_of(
            left.with_held(still), is_faulty=bool(state["fault"]), is_stopped=is_stopped
        )
        if state["fault"]:
            reason = state["fault"]
        elif state["untried"] and reason is None:
            reason = (
                "Requests for several accounts fail, and the search for those at fault stopped"
                f" after {counted(state['searched'], 'request')} (RECON_SEARCH_REQUESTS); accounts"
                " that were not read alone wait for the next run."
            )
        if state["incomplete"]:
            reason = " ".join(
                [
                    *([reason] if reason else []),
                    f"Maintenance before the run was not completed. {state['incomplete']}",
                ]
            )
        if state["missing_partitions"]:
            reason = " ".join(
                [
                    *([reason] if reason else []),
                    _without_partition(state["missing_partitions"], state["history_from"]),
                ]
            )
        if empty := nothing_known(state["kind"], state["known_accounts"], state["refused"]):
            reason = " ".join([*([reason] if reason else []), empty])
        is_well = status in (
            RunStatus.SUCCEEDED,
            RunStatus.COMPLETED_WITH_ISSUES,
        ) and _finds_upstream_well(state, guard)
        # Before it ends: whoever waits for the end reads the totals then.
        await self._database.execute(self._sql["count_written"], run_id, seconds=SWEEP_SECONDS)
        values = status.value, reason, is_well, left.as_json(), is_settled and not held
        ended = (
            await self._database.fetch_value(self._sql["finish_run"], run_id, *values) is not None
        )
        if ended:
            await self._database.execute(self._sql["clear_scan"], run_id)
            await self._database.execute(self._sql["note_held_since"], run_id)
        return ended

    async def is_past(self, moment: dt.datetime) -> bool:
        """Whether the database's clock, by which runs stop, is beyond the moment."""
        return bool(await self._database.fetch_value(self._sql["is_past"], moment))

    async def end_early(self, run_id: uuid.UUID, status: RunStatus, reason: str) -> None:
        """End a run that cannot go on; the accounts that wait are left, and none is blamed."""
        await self._database.execute(self._sql["count_written"], run_id, seconds=SWEEP_SECONDS)
        await self._database.execute(self._sql["end_run"], run_id, status.value, reason)
        await self._database.execute(self._sql["clear_scan"], run_id)

    async def note_history(self, run_id: uuid.UUID, first: dt.date | None) -> None:
        """Keep from which date on the run compares."""
        await self._database.execute(self._sql["note_history"], run_id, first)

    async def note_search(self, run_id: uuid.UUID, new: int, known: int, fault: str) -> None:
        """Count what a search for failing accounts cost, `known` for those that had failed before;
        keep why the run will have failed.
        """
        await self._database.execute(self._sql["note_search"], run_id, new, known, fault or None)

    async def add_phase(self, run_id: uuid.UUID, phase: str, seconds: float) -> None:
        """Add time spent in a phase."""
        await self._database.execute(
            self._sql["add_phase_seconds"], run_id, phase, str(round(seconds, 3))
        )

    async def set_api_statistics(
        self, run_id: uuid.UUID, worker_id: uuid.UUID, statistics: Mapping[str, object]
    ) -> None:
        """Keep this worker process's API statistics for the run."""
        await self._database.execute(
            self._sql["set_api_statistics"], run_id, str(worker_id), dict(statistics)
        )

    async def add_effort(self, run_id: uuid.UUID, efforts: Sequence[Effort], requests: int) -> None:
        """Count what belongs to no recorded account: an audit's scan, a batch that broke off."""
        await self._database.execute(
            self._sql["count_batch"],
            run_id,
            0,
            0,
            0,
            0,
            0,
            requests,
            *_rows(efforts),
            0,
            0,
            0,
            0,
            0,
        )

    async def record(  # noqa: PLR0913 - all of one transaction
        self,
        claim: Claim,
        results: Sequence[AccountResult],
        *,
        seconds: float,
        requests: int,
        terms: Terms,
        judged: Sequence[str],
        rows_compared: int = 0,
        beside: Sequence[Effort] = (),
    ) -> list[str]:
        """Record a batch and release its accounts, in one transaction; the accounts that were still
        ours.

        `seconds` is what the batch took, `requests` what it sent, `terms` are for accounts that
        failed, `judged` are the issue codes on which this look has the last word, `rows_compared`
        the stored rows that met complete answers, `beside` efforts that count for the run and for
        none of these accounts. Of postponed accounts only the effort counts now.
        """

        async def write(connection: Connection) -> list[str]:
            ids = [result.account_id for result in results]
            failures = await self._fence.lock_claims(
                connection, ids, claim.claim_id, terms.lease_seconds
            )
            mine = [
                result
                for result in results
                if result.account_id in failures and not result.postponed
            ]
            later = [
                result for result in results if result.account_id in failures and result.postponed
            ]
            news = [result for result in mine if not result.is_quiet]
            loud = {result.account_id for result in news}
            quiet = [result.account_id for result in mine if result.account_id not in loud]
            left = {result.account_id: result.left or () for result in mine}
            newly = sum(result.newly_held for result in mine)
            closing = await asyncio.to_thread(
                lambda: {
                    result.account_id: _encoded(_closings(claim, result))
                    for result in news
                    if result.closings
                }
            )
            others = _closing(claim, Outcome.UNCHANGED, Effort(), GONE)
            await self.close_and_open(connection, left, judged, claim.run_id, others, closing)
            if quiet:
                await connection.execute(
                    self._sql["record_unchanged"], claim.run_id, seconds, quiet
                )
            if news:
                attempts = await asyncio.to_thread(_encoded_rows, map(_attempt, news))
                states = await asyncio.to_thread(
                    _encoded_rows,
                    (_state(result, failures[result.account_id], terms) for result in news),
                )
                await connection.execute(
                    self._sql["record_attempts"], claim.run_id, seconds, attempts
                )
                await connection.execute(
                    self._sql["record_accounts"], states, terms.max_attempts, terms.now
                )
            judged_left = {
                result.account_id: result.left for result in mine if result.left is not None
            }
            seen = {result.account_id: result.seen for result in mine if result.seen is not None}
            await self._acceptances.settle(
                connection, judged_left, judged, today=terms.today, seen=seen
            )
            if compared := _compared_by_all(mine):
                await connection.execute(self._sql["add_compared"], claim.run_id, compared)
            if later:
                attempts = _encoded_rows(map(_attempt, later))
                pauses = terms.postpone_seconds, terms.postpone_named_seconds
                await connection.execute(
                    self._sql["postpone_accounts"], claim.run_id, seconds, attempts, *pauses
                )
            await connection.execute(
                self._sql["count_batch"],
                claim.run_id,
                *_batch_counts(mine, later, requests, beside),
                rows_compared,
                newly,
            )
            return sorted(failures)

        return await self._database.give_way(write)

    async def record_issues(
        self,
        found: Mapping[str, Sequence[Issue]],
        judged: Sequence[str],
        *,
        note: str,
        closed_as: ClosedAs,
    ) -> None:
        """Replace the open issues of accounts, of the codes that were judged, outside a run; those
        that are gone are `closed_as`.
        """
        entries = [
            {"account_id": account_id, "issues": [issue.as_json() for issue in issues]}
            for account_id, issues in found.items()
        ]

        async def write(connection: Connection) -> None:
            await self.close_and_open(
                connection, found, judged, None, {"closed_as": closed_as.value, "closed_by": note}
            )
            await connection.execute(self._sql["merge_issues"], entries, list(judged))
            # Behind the write, which holds the accounts' rows.
            await self._acceptances.count_again(
                connection, await self._acceptances.settle(connection, found, judged)
            )

        await self._database.give_way(write)

    async def open_issues(
        self, run_id: uuid.UUID | None, found: Mapping[str, Sequence[Issue]], moving_from: dt.date
    ) -> None:
        """Note in the history what detection found, before anything is healed; dates from
        `moving_from` on still move.
        """
        if any(found.values()):
            entries = await asyncio.to_thread(_encoded_rows, _history_entries(found))
            await self._database.execute(
                self._sql["open_issues"], entries, run_id, *_REOPENING, moving_from.isoformat()
            )

    async def note_differing(
        self, run_id: uuid.UUID, found: Mapping[str, Sequence[Issue]], moving_from: dt.date
    ) -> None:
        """Note what a comparison of rows has found so far, before anything of it is healed; dates
        from `moving_from` on still move.
        """
        if any(found.values()):
            await self.open_issues(run_id, found, moving_from)
            entries = await asyncio.to_thread(_encoded_rows, _history_entries(found))
            await self._database.execute(self._sql["renew_evidence"], entries, run_id)

    async def rewritten(self, account_ids: Sequence[str]) -> dict[str, Rewritten]:
        """What runs rewrote of accounts since those were whole; accounts of which nothing was are
        left out.
        """
        rows = await self._database.fetch(self._sql["get_rewritten"], list(account_ids))
        return {row["account_id"]: Rewritten(row["rows"], row["removed"]) for row in rows}

    async def is_suspicion_standing(self, run_id: uuid.UUID) -> bool:
        """Whether an earlier run was stopped since upstream was suspect, and neither a person nor
        an audit begun since found it well.
        """
        return bool(await self._database.fetch_value(self._sql["get_standing_suspicion"], run_id))

    async def note_suspicion(
        self, run_id: uuid.UUID, reason: str, confirmed_at: dt.datetime | None
    ) -> None:
        """Upstream is suspect: the run's batches hold whatever upstream lowers; not if somebody
        confirmed the run since.
        """
        await self._database.execute(self._sql["note_suspicion"], run_id, reason, confirmed_at)

    async def reopened(self, account_ids: Sequence[str]) -> dict[str, int]:
        """How often in a row an open issue of an account was healed and came back, its worst one;
        accounts without one are left out.
        """
        rows = await self._database.fetch(self._sql["get_reopened"], list(account_ids))
        return {row["account_id"]: row["reopened"] for row in rows}

    async def close_and_open(
        self,
        connection: Connection,
        found: Mapping[str, Sequence[Issue]],
        judged: Sequence[str],
        run_id: uuid.UUID | None,
        closing_others: Mapping[str, object],
        closing: Mapping[str, object] | None = None,
    ) -> None:
        """Close in the history what accounts no longer have, of the codes that were judged, and
        open what they have now.

        `closing` is the evidence by account and code, `closing_others` that of all others.
        """
        # In threads, here and where batches are recorded: thousands of accounts take longer than
        # the event loop should be kept.
        entries = await asyncio.to_thread(_encoded_rows, _history_entries(found))
        told = dict(closing or {}), dict(closing_others)
        await connection.execute(
            self._sql["close_issues"], list(found), entries, list(judged), run_id, *told
        )
        # What came up during a heal is news of that heal, and did not open again: no date counts as
        # settled.
        if any(found.values()):
            await connection.execute(
                self._sql["open_issues"], entries, run_id, 0, 0, dt.date.min.isoformat()
            )


def _finds_upstream_well(state: Record, guard: HoldLimits) -> bool:
    """Whether a run, an audit over all accounts, compared enough of them to say that upstream is
    well.

    Accounts that it did not compare count as if upstream lowered them, and those that it left held
    as before do so still.
    """
    known = state["known"]
    if known is None:
        return False
    doubtful = state["lowered"] + state["held_before"] + max(known - state["compared"], 0)
    return state["compared"] > doubtful and not guard.suspects(doubtful, known)


def _encoded(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _encoded_rows(rows: Iterable[object]) -> msgspec.Raw:
    """Rows as a JSON array that is ready to be sent.

    Encoded one by one: a single call for thousands would keep all other threads waiting until it is
    done.
    """
    encoder = msgspec.json.Encoder()
    encoded = bytearray(b"[")
    for row in rows:
        if len(encoded) > 1:
            encoded += b","
        encoder.encode_into(row, encoded, -1)
    encoded += b"]"
    return msgspec.Raw(encoded)


def _history_entries(found: Mapping[str, Sequence[Issue]]) -> Iterator[dict[str, object]]:
    for account_id, issues in found.items():
        for issue in issues:
            yield {
                "account_id": account_id,
                "type": issue.code.value,
                "severity": int(issue.severity),
                "evidence": issue.as_json(),
            }


def _closing(claim: Claim, outcome: Outcome, effort: Effort, closing: Closing) -> dict[str, object]:
    """The evidence with which an issue of an account is closed: as what, and what the run wrote
    before the check found it gone.
    """
    return {
        **closing.as_json(),
        "run_id": str(claim.run_id),
        "outcome": outcome.value,
        **msgspec.to_builtins(effort),
    }


def _closings(claim: Claim, result: AccountResult) -> dict[str, object]:
    return {
        code.value: _closing(claim, result.outcome, result.whole_effort, closing)
        for code, closing in result.closings.items()
    }


def _attempt(result: AccountResult) -> dict[str, object]:
    effort = result.whole_effort
    return {
        "account_id": result.account_id,
        "outcome": result.outcome.value,
        "requests": effort.requests,
        "own_seconds": round(effort.seconds, 4),
        "own_requests": round(effort.own_requests, 4),
        "inserted": effort.inserted,
        "updated": effort.updated,
        "moved": effort.moved,
        "removed": effort.removed,
        "set_aside": effort.set_aside,
        "nulled": effort.values_nulled,
        "found": result.codes_found,
        "remaining": [issue.code.value for issue in result.left or ()],
        "detail": result.detail,
        "untried": result.untried,
        "held": result.shown,
        "compared": result.compared,
        "seen": result.seen,
    }


def _state(result: AccountResult, failures: int, terms: Terms) -> dict[str, object]:
    return {
        "account_id": result.account_id,
        "outcome": result.outcome.value,
        "issues": None if result.left is None else [issue.as_json() for issue in result.left],
        "failing": result.failing,
        "signature": result.signature,
        "is_whole": result.is_whole,
        "next_attempt_at": _next_attempt_at(result, failures, terms),
        "explained_times": 0 if result.explained is None else result.explained.times,
        "ask_again_at": (
            None if result.explained is None else result.explained.ask_again_at.isoformat()
        ),
    }


def _next_attempt_at(result: AccountResult, failures: int, terms: Terms) -> str | None:
    at = terms.next_attempt(failures + 1) if result.failing else result.held_until
    return None if at is None else at.isoformat()


def _compared_by_all(results: Sequence[AccountResult]) -> dict[str, dict[str, int]]:
    """What was compared by rows of all these accounts, by table."""
    tables: dict[str, dict[str, int]] = {}
    for result in results:
        for table, figures in (result.compared or {}).items():
            known = tables.setdefault(table, {"rows": 0, "columns": 0, "differing": 0})
            known["rows"] += figures["rows"]
            known["columns"] = max(known["columns"], figures["columns"])
            known["differing"] += figures["differing"]
    return tables


def _batch_counts(
    results: Sequence[AccountResult],
    postponed: Sequence[AccountResult],
    requests: int,
    beside: Sequence[Effort],
) -> tuple[int, ...]:
    outcomes = Counter(result.outcome for result in results)
    return (
        *(
            outcomes[outcome]
            for outcome in (
                Outcome.UNCHANGED,
                Outcome.HEALED,
                Outcome.EXPLAINED,
                Outcome.PARTIAL,
                Outcome.FAILED,
            )
        ),
        requests,
        *_rows([*(result.effort for result in (*results, *postponed)), *beside]),
        sum(not result.untried for result in postponed),
        outcomes[Outcome.FLAPPING],
        outcomes[Outcome.NEEDS_CONFIRMATION],
    )


def _without_partition(missing: Sequence[str], first: dt.date | None) -> str:
    """That rows of months have no partition, once `missing` are tables with a month each, the
    history begins at `first`.
    """
    months: dict[str, list[str]] = {}
    for each in sorted(missing):
        table, month = each.rsplit(" ", 1)
        months.setdefault(table, []).append(month)
    listed = "; ".join(f"{table} {', '.join(of_table)}" for table, of_table in months.items())
    what = f"Rows of months that no partition takes were not stored ({listed})."
    if first is not None:
        return (
            f"{what} They lie in the history, which begins on {first}: create or attach them, as"
            " the details say, or let it begin later."
        )
    return (
        f"{what} If the owner dropped or detached them, set RECON_HISTORY_FROM=auto (where"
        " partitions stand before them, a date behind them): then they are neither asked for nor"
        " counted; otherwise create or attach them, as the details say."
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
