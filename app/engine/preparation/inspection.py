"""Inspection: records issues, repairs nothing, asks nothing."""

import datetime as dt
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from app.domain.accounts.view import AccountView
from app.domain.ids import AccountId
from app.domain.issues.detection import detect
from app.domain.pins import beside_pins
from app.domain.runs.inspected import (
    JUDGED,
    Inspected,
    InspectionFigures,
    inspect_account,
    is_short,
)
from app.domain.sequences import pieces
from app.domain.verdict.closing import ClosedAs
from app.engine.api_usage import RunApiStats
from app.engine.config import EngineConfig
from app.engine.off_loop import off_loop
from app.engine.repositories import Repositories
from app.engine.stopping import StopSignal
from app.store.claims.claim import Claim
from app.store.runs.active_runs import ActiveRun
from app.telemetry import get_logger

_log = get_logger(__name__)
_LOOK_AT = 5000
_JUDGED = sorted(JUDGED)


class Inspector:
    """Inspects claimed batches."""

    def __init__(
        self, store: Repositories, config: EngineConfig, now: Callable[[], dt.datetime]
    ) -> None:
        self._store = store
        self._config = config
        self._now = now

    async def reconcile(
        self, claim: Claim, run: ActiveRun, use: RunApiStats, stop: StopSignal
    ) -> None:
        """Inspect the accounts; `stop` waits for the short batch."""
        del use, stop
        begun = time.monotonic()
        store, now = self._store.within(run.history_from), self._now()
        views = await look(store, claim.account_ids, now)
        found = await _judge(store, views, self._config.today(now))
        moving_from = self._config.moving(now, run.history_from).first
        await store.issue_history.open_issues(
            run.run_id, {each.account_id: each.issues for each in found if each.issues}, moving_from
        )
        yesterday = self._config.today(now) - dt.timedelta(days=1)
        count = await _counting(store, views, found, yesterday)
        seconds = round(time.monotonic() - begun, 3)
        recorded = await store.inspections.record(claim, found, count, seconds)
        await store.sweep.follow_state(recorded)
        await store.runs.add_phase(run.run_id, "detect", seconds)
        _log.info(
            "A batch is inspected.",
            action="batch.inspected",
            run_id=str(run.run_id),
            accounts=len(recorded),
            found=sum(each.is_news for each in found),
            seconds=seconds,
        )

    async def record_unread(self, claim: Claim, reason: str) -> None:
        """Record the claim's only account as unreadable."""
        (account_id,) = claim.account_ids
        await self._store.inspections.record_unread(
            claim, account_id, f"The account was not inspected: {reason}"
        )


async def look(
    store: Repositories, account_ids: Sequence[AccountId], now: dt.datetime
) -> dict[AccountId, AccountView]:
    """Accounts by the warehouse alone at `now` (aware)."""
    views = await store.detection.look(account_ids, is_first=True)
    surplus = [(account_id, day) for account_id, view in views.items() for day in view.surplus_days]
    doubled = await store.comparison.doubled_days(surplus)

    def judged(view: AccountView) -> AccountView:
        days = doubled.get(view.account_id)
        return beside_pins(view if days is None else replace(view, doubled=days), now)

    return await off_loop(lambda: {account_id: judged(view) for account_id, view in views.items()})


async def _judge(
    store: Repositories, views: Mapping[AccountId, AccountView], today: dt.date
) -> list[Inspected]:
    known = await store.acceptances.of(list(views))
    accepted = {
        account_id: {code: each for code, each in by_code.items() if each.until > today}
        for account_id, by_code in known.items()
    }
    return await off_loop(
        lambda: [
            inspect_account(view, detect(view), accepted.get(view.account_id, {}))
            for view in views.values()
        ]
    )


async def _counting(
    store: Repositories,
    views: Mapping[AccountId, AccountView],
    found: Sequence[Inspected],
    yesterday: dt.date,
) -> Callable[[Collection[str]], InspectionFigures]:
    """Counts figures of accounts still ours."""
    brokers = await store.inspections.brokers([each.account_id for each in found if each.entries])
    # Accounts that upstream lacks are not short of anything.
    short = [each.account_id for each in found if each.is_news and is_short(views[each.account_id])]
    coverage = await store.detection.coverage(short) if short else {}

    def count(account_ids: Collection[str]) -> InspectionFigures:
        figures = InspectionFigures()
        for each in found:
            if each.account_id in account_ids:
                figures.add(each, views[each.account_id], brokers.get(each.account_id, ()))
        figures.add_gaps(len(short), coverage, yesterday)
        return figures

    return count


async def record_disagreements(store: Repositories, config: EngineConfig, now: dt.datetime) -> int:
    """Record missing issues of disagreeing accounts, as after ingestion."""
    moving_from = config.moving(now, store.applier.window.first).first
    recorded = 0
    for batch in pieces(await store.inspections.undetailed(), _LOOK_AT):
        found = await _judge(store, await look(store, batch, now), config.today(now))
        issues = {each.account_id: each.issues for each in found if each.issues}
        await store.issue_history.open_issues(None, issues, moving_from)
        await store.issue_history.record_issues(
            issues, _JUDGED, note="maintenance", closed_as=ClosedAs.GONE
        )
        recorded += len(issues)
    return recorded
