"""Preparation of a run, done by one replica: maintenance, an audit's scan, and the list of the
run's accounts.
"""

import contextlib
import datetime as dt
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.domain.accounts.progress import Effort
from app.domain.contract.tables import PAGE_ROWS
from app.domain.sequences import pieces, scattered
from app.domain.states import RunKind
from app.engine.api_usage import RunApiStats
from app.engine.config import EngineConfig
from app.engine.preparation.audit import AuditTerms, audit
from app.engine.preparation.history import begin_history
from app.engine.preparation.maintenance import count, find_ids, maintain, mend_accounts
from app.engine.preparation.open_trades import compare_open_trades, compare_open_trades_of
from app.engine.repositories import Repositories
from app.engine.restore import Restoring
from app.errors import DatabaseError, ReconError, RowRefused, StatementTooSlow, WriteConflict
from app.store.runs.active_runs import ActiveRun
from app.store.runs.run_queue import Queued
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient
from app.upstream.stats import ApiStatistics

_log = get_logger(__name__)
_FEW, _FEW_ACCOUNTS = 5, 1000
"""Above a fifth of all accounts, and some more, the sweep over everything costs less than looking
at each that was written.
"""
_STRIKES = 8
"""When so many accounts cannot be maintained and none could, it is not the accounts' fault."""


@dataclass(frozen=True, slots=True)
class _Maintained:
    """What maintenance did, the accounts that it could not read, those whose rows others hold, and
    those whose rows are refused.

    Of the latter `kept_out` are not in trade_recon.
    """

    result: Mapping[str, object]
    unread: Sequence[str] = ()
    locked: Sequence[str] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    kept_out: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """Accounts on which an audit has no word: those queued `besides`, those `unanswered`, and those
    set `apart` as failed.
    """

    besides: Sequence[str]
    unanswered: Sequence[str]
    apart: Sequence[str] = ()

    @property
    def accounts(self) -> list[str]:
        """All of them."""
        return sorted({*self.besides, *self.unanswered, *self.apart})


class Preparation:
    """Makes a queued run ready for its batches; doing it again after a crash gives the same."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
    ) -> None:
        """Bind the parts; `now` gives the time (aware)."""
        self._store = store
        self._client = client
        self._config = config
        self._now = now

    async def prepare(self, run: ActiveRun, use: RunApiStats) -> None:
        """Bring the warehouse's own state up to date and put the accounts that need work into the
        run.

        `use` records what the run asks of the API. Raises UpstreamRefused or UpstreamUnavailable if
        an audit cannot read upstream, UpstreamSuspect if it has nothing for too many accounts,
        ClaimLost if another worker took the preparation over, ConfigurationError if the warehouse
        was changed so that we cannot work in it any more.
        """
        await self._store.require_fit()
        first = await begin_history(self._store, self._config, self._now())
        await self._store.runs.note_history(run.run_id, first)
        bound = Preparation(self._store.within(first), self._client, self._config, self._now)
        await bound.compare(replace(run, history_from=first), use)

    async def compare(self, run: ActiveRun, use: RunApiStats) -> None:
        """Do it for the dates that the store has; see `prepare`."""
        begun = time.monotonic()
        named = run.request.account_ids
        among = (
            named
            if named is not None
            else await self._touched()
            if run.request.changed_only
            else None
        )
        heals = run.request.kind is not RunKind.INSPECT
        await Restoring(self._store).release_overtaken(named)
        if among is None:
            maintained = await self._maintain_all(run.run_id, heals=heals)
        else:
            maintained = await self._maintain_some(run.run_id, among, heals=heals)
        await self._store.runs.add_phase(run.run_id, "maintenance", time.monotonic() - begun)
        queued = await self._enqueue(run, among, use, maintained)
        _log.info(
            "The accounts of the run are known.",
            action="run.prepared",
            run_id=str(run.run_id),
            kind=run.request.kind.value,
            skipped=queued.skipped,
            unchanged=queued.unchanged,
        )

    async def _touched(self) -> list[str] | None:
        """The accounts that were written since the last run over all; None if there was none, or if
        reading everything costs less.
        """
        until = await self._store.touched.covered_until()
        if until is None or await self._store.touched.is_blind(until):
            return None
        most = await self._store.preparations.count_accounts() // _FEW + _FEW_ACCOUNTS
        since = until - dt.timedelta(seconds=self._config.overlap_seconds)
        touched = await self._store.touched.accounts(since, most + 1, covered_until=until)
        return None if len(touched) > most else touched

    async def _maintain_all(self, run_id: uuid.UUID, *, heals: bool) -> "_Maintained":
        """Maintain everything at once, or account by account where PostgreSQL fails at the rows of
        some: those it names.

        An inspection, which heals nothing, only counts. Raises the error where it is not the rows
        of accounts that are known.
        """
        try:
            today = self._config.today(self._now())
            done = await (
                maintain(self._store, today, run_id) if heals else count(self._store, today)
            )
            return _Maintained(
                done.as_json(),
                locked=done.accounts_locked,
                refused=done.accounts_refused,
                kept_out=done.accounts_kept_out,
            )
        except (RowRefused, DatabaseError) as error:
            known = await self._store.preparations.oldest_accounts(
                await self._store.preparations.count_accounts()
            )
            _log.warning(
                "The warehouse cannot be read at once; its accounts are read in batches.",
                action="maintenance.in_batches",
                accounts=len(known),
                reason=str(error),
            )
            maintained = await self._maintain_some(run_id, known, heals=heals)
            if not maintained.unread:
                raise
            return replace(
                maintained,
                result={
                    "incomplete": (
                        f"Accounts that were not known before were not looked for: {error}"
                    )
                },
            )

    async def _maintain_some(
        self, run_id: uuid.UUID, account_ids: Sequence[str], *, heals: bool
    ) -> "_Maintained":
        """Maintain accounts in batches; those whose rows PostgreSQL cannot work on, which their
        batch will say of each.

        Raises the error where it meets every account.
        """
        unread: list[str] = []
        locked: list[str] = []
        refused: dict[str, str] = {}
        came_through = False
        waiting = list(pieces(scattered(account_ids), self._config.batch_size))
        while waiting:
            batch = waiting.pop()
            try:
                # Ingestion may have brought accounts since the last maintenance.
                kept_out = await self._store.detection.add_accounts(batch)
                refused |= kept_out
                batch = [account_id for account_id in batch if account_id not in kept_out]
                today = self._config.today(self._now())
                await (
                    mend_accounts(self._store, batch, today, run_id)
                    if heals
                    else find_ids(self._store, batch, today)
                )
                await self._store.detection.refresh_stats(batch, is_first=True)
                await self._store.sweep.follow_state(batch)
                came_through = True
            except WriteConflict:
                held = set(await self._store.detection.locked_accounts(batch))
                if not held:
                    # Another writer had rows in hand that are free by now, or not ours: the work
                    # waits.
                    raise
                locked += held
                waiting += pieces(
                    [account_id for account_id in batch if account_id not in held], len(batch)
                )
            except (RowRefused, StatementTooSlow, DatabaseError) as error:
                if len(batch) > 1:
                    waiting += pieces(batch, -(-len(batch) // 2))
                    continue
                unread += batch
                if len(unread) >= _STRIKES and not came_through:
                    raise
                _log.warning(
                    "An account cannot be maintained.",
                    action="maintenance.failed",
                    account_id=batch[0],
                    reason=str(error),
                )
        return _Maintained({}, unread, sorted(locked), refused, frozenset(refused))

    async def _enqueue(
        self,
        run: ActiveRun,
        among: Sequence[str] | None,
        use: RunApiStats,
        maintained: "_Maintained",
    ) -> Queued:
        request = run.request
        is_audit, unanswered = request.kind is RunKind.AUDIT, list[str]()
        compared: Sequence[str] | None = request.account_ids
        if is_audit:
            if (
                compared is None
                and request.max_accounts is not None
                and await self._costs_less_by_id(request.max_accounts)
            ):
                compared = await self._store.preparations.oldest_accounts(request.max_accounts)
            unanswered = await self._audit(run, compared, use)
        if request.compares_rows and request.account_ids is not None:
            await self._compare_open_trades(run, request.account_ids, use)
        # What is not known of them is not among what is known to differ: accounts that cannot be
        # read, and rows that no count tells of.
        heals = request.kind is not RunKind.INSPECT
        placeable = (
            await self._store.detection.placeable_accounts() if among is None and heals else []
        )
        besides = sorted({*maintained.unread, *placeable})
        if maintained.locked:
            await self._store.claims.set_locked_apart(run.run_id, maintained.locked)
        await self._store.claims.set_refused_apart(run.run_id, maintained.refused)
        unwritten = [
            account_id for account_id in maintained.refused if account_id not in maintained.kept_out
        ]
        left_out = _LeftOut(besides, unanswered, [*maintained.locked, *unwritten])
        try:
            return await self._queue(run, among, compared, maintained, left_out)
        except (RowRefused, DatabaseError) as error:
            if not is_audit:
                raise
            # The rows of equal accounts are written here.
            known = compared if compared is not None else await self._store.detection.all_accounts()
            apart = await self._store.claims.set_unwritable_apart(run.run_id, error, known)
            _log.warning(
                "Rows of trade_recon cannot be written; their accounts fail, and the run goes on"
                " with the others.",
                action="queue.unwritable",
                run_id=str(run.run_id),
                accounts=len(apart),
                reason=str(error),
            )
            return await self._queue(
                run, among, compared, maintained, replace(left_out, apart=[*left_out.apart, *apart])
            )

    async def _queue(
        self,
        run: ActiveRun,
        among: Sequence[str] | None,
        compared: Sequence[str] | None,
        maintained: "_Maintained",
        left_out: "_LeftOut",
    ) -> Queued:
        request = run.request
        async with self._store.preparations.queue(run.run_id) as queue:
            if request.kind is RunKind.INSPECT:
                queued = await self._store.inspections.enqueue(
                    queue,
                    run.run_id,
                    compared,
                    limit=request.max_accounts,
                    unread=left_out.besides,
                    first=run.history_from,
                )
            elif request.kind is RunKind.AUDIT:
                unknown = left_out.accounts
                queued = await queue.audited(
                    compared,
                    limit=request.max_accounts,
                    unanswered=unknown,
                    by_rows=request.compares_rows,
                )
                queued = replace(
                    queued, skipped=queued.skipped - len(unknown) + len(left_out.unanswered)
                )
            elif request.account_ids is not None:
                queued = await queue.accounts(request.account_ids)
            else:
                queued = await queue.mismatched(
                    retry=request.kind is RunKind.RETRY, limit=request.max_accounts, among=among
                )
            if left_out.besides:
                await queue.accounts(left_out.besides)
            if request.kind is not RunKind.INSPECT and not request.compares_rows:
                # Those that compare rows take all of their accounts.
                healed = await queue.given_ids(compared, left_out.accounts)
                queued = replace(queued, healed=healed, unchanged=max(0, queued.unchanged - healed))
            if (
                maintained.unread
                or maintained.locked
                or maintained.refused
                or request.kind is RunKind.INSPECT
            ):
                queued = replace(queued, is_all=False)
            await queue.finish(queued, maintained.result)
        return queued

    async def _costs_less_by_id(self, accounts: int) -> bool:
        """Whether asking for some accounts by id takes fewer requests than the scan, which also
        sees accounts that only upstream has.
        """
        return (
            accounts * PAGE_ROWS
            < await self._store.preparations.count_accounts() * self._client.max_ids
        )

    async def _audit(
        self, run: ActiveRun, account_ids: Sequence[str] | None, use: RunApiStats
    ) -> list[str]:
        begun, asked = time.monotonic(), ApiStatistics()
        now = self._now()
        try:
            with asked.recording():
                unanswered = await audit(
                    self._store,
                    self._client,
                    run.run_id,
                    AuditTerms(
                        moving_from=self._config.moving(now, run.history_from).first,
                        today=now.date() + dt.timedelta(days=1),
                        guard=None if run.confirmed else self._config.guard,
                        search_requests=self._config.search_requests,
                        day=self._config.today(now),
                    ),
                    account_ids,
                )
                if account_ids is None:
                    await compare_open_trades(self._store, self._client, run.run_id)
        except ReconError:
            # It breaks off; what it asked is still counted.
            with contextlib.suppress(ReconError):
                await self._note_use(use, asked)
            raise
        await self._store.runs.add_phase(run.run_id, "audit", time.monotonic() - begun)
        await self._note_use(use, asked)
        return unanswered

    async def _compare_open_trades(
        self, run: ActiveRun, account_ids: Sequence[str], use: RunApiStats
    ) -> None:
        asked = ApiStatistics()
        with asked.recording():
            await compare_open_trades_of(self._store, self._client, run.run_id, account_ids)
        await use.keep()
        await self._store.results.add_effort(run.run_id, (), asked.requests)

    async def _note_use(self, use: RunApiStats, asked: ApiStatistics) -> None:
        await use.keep()
        odd = self._store.scans.take_oddities(use.run_id)
        if odd.named:
            _log.warning(
                "Upstream sent values that cannot be read or stored: such figures were not"
                " compared, rows without an account left out.",
                action="audit.unreadable",
                run_id=str(use.run_id),
                fields=odd.fields,
                rows=odd.rows,
                accounts=odd.sample,
            )
        effort = Effort(values_nulled=odd.fields, set_aside=odd.rows)
        await self._store.results.add_effort(use.run_id, (effort,), asked.requests)
