"""Maintenance: repairs unambiguous ids, renews account list and totals."""

import asyncio
import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.ids import AccountId, RunId
from app.domain.issues.codes import COUNT_CODES, IDENTITY_CODES, Issue, IssueCode
from app.domain.issues.detection import detect
from app.domain.runs.emptiness import NOBODY_KNOWN, refused_sentence
from app.domain.sequences import pieces
from app.domain.verdict.closing import ClosedAs
from app.engine.repositories import Repositories
from app.errors import DatabaseError, RowRefused, WriteConflict
from app.store.detect.sweep import Swept
from app.store.identity.natural_keys import NaturalKeys
from app.store.identity.repair import Repaired
from app.telemetry import get_logger

_log = get_logger(__name__)
_LOOK_AT = 5000
_SAMPLE = 20
_STRIKES = 50
"""Uncountable accounts, all being so, before none is blamed."""
_LOCK_PAUSES = (0.1, 0.3, 0.6, 1.0)
"""Seconds between tries of locked accounts."""
_BY_ITSELF = IDENTITY_CODES | {IssueCode.IMPOSSIBLE_DATE}
"""Issues visible without counting."""
_COUNTED = COUNT_CODES | {IssueCode.UPSTREAM_INCONSISTENT}
"""Issues that equal counts refute."""


@dataclass(frozen=True, slots=True)
class MaintenanceResult:
    """Results of maintenance; the first four names are those of the first system.

    `unmatched_combinations`: keys that fit no account or several. Locked accounts have old totals;
    trade_recon rejects refused ones, and lacks those kept out. Relations `money_dropped` are no
    longer compared.
    """

    closed_trades_updated: int = 0
    open_trades_updated: int = 0
    md5_hashes_fixed: int = 0
    unmatched_combinations: int = 0
    metrics_rows_updated: int = 0
    ambiguous_combinations: int = 0
    accounts_added: int = 0
    totals_changed: int = 0
    unmatched: list[dict[str, object]] = field(default_factory=list)
    history_from: dt.date | None = None
    rows_before_history: int = 0
    seconds: float = 0.0
    accounts_locked: tuple[str, ...] = ()
    accounts_refused: Mapping[str, str] = field(default_factory=dict)
    accounts_kept_out: frozenset[str] = frozenset()
    accounts_known: int = 0
    money_dropped: list[str] = field(default_factory=list)

    @property
    def message(self) -> str | None:
        """A sentence for an empty warehouse."""
        if self.accounts_known:
            return None
        return (
            refused_sentence(len(self.accounts_refused)) if self.accounts_refused else NOBODY_KNOWN
        )

    def as_json(self) -> dict[str, object]:
        """As JSON, with counts of locked and refused accounts."""
        first = None if self.history_from is None else self.history_from.isoformat()
        shown = {name: value for name, value in asdict(self).items() if name != "accounts_kept_out"}
        return {
            **shown,
            "history_from": first,
            "accounts_locked": len(self.accounts_locked),
            "accounts_refused": len(self.accounts_refused),
            "message": self.message,
        }


async def fix_ids(store: Repositories, today: dt.date) -> MaintenanceResult:
    """Repair ids; ambiguous ones are listed."""
    begun = time.monotonic()
    return await _fix_ids(store, await store.sweep.run(today), begun, today)


async def count(store: Repositories, today: dt.date) -> MaintenanceResult:
    """Renew account list and totals, without raw writes."""
    begun = time.monotonic()
    return await _fix_ids(store, await store.sweep.run(today), begun, today, heals=False)


async def _fix_ids(
    store: Repositories,
    swept: Swept,
    begun: float,
    today: dt.date,
    *,
    heals: bool = True,
    run_id: RunId | None = None,
) -> MaintenanceResult:
    """Repair, and sweep again if rows changed."""
    await _record_identity_issues(store)
    repaired = (
        await store.identity.repair_all(swept.placeholders, today, run_id) if heals else Repaired()
    )
    added, changed = swept.accounts_added, swept.totals_changed
    locked, kept_out, dropped = swept.locked, swept.kept_out, swept.money_dropped
    if sum(repaired.rows.values()):
        # A whole sweep: repairs give rows to some accounts and take them from others.
        again = await store.sweep.run(today)
        added, changed = added + again.accounts_added, changed + again.totals_changed
        locked, kept_out, dropped = again.locked, again.kept_out, again.money_dropped
        await _record_identity_issues(store, ClosedAs.HEALED)
    held, unwritten = await _count_locked(store, locked)
    refused = {**kept_out, **unwritten}
    _log_refused(refused)
    await _close_refuted(store)
    await store.sweep.follow_state()
    counted = changed + len(locked) - len(held) - len(unwritten)
    return replace(
        await _result(store, repaired, added, counted),
        accounts_locked=tuple(held),
        accounts_refused=refused,
        accounts_kept_out=frozenset(kept_out),
        accounts_known=await store.preparations.count_accounts(),
        money_dropped=dropped,
        seconds=round(time.monotonic() - begun, 3),
    )


def _log_refused(refused: Mapping[str, str]) -> None:
    if refused:
        _log.warning(
            "PostgreSQL rejects rows of trade_recon: their accounts are left out, and tried"
            " again next time.",
            action="maintenance.refused",
            accounts=len(refused),
            sample=dict(sorted(refused.items())[:_SAMPLE]),
        )


async def _count_locked(
    store: Repositories, locked: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Count accounts again whose rows were locked; those that still are, and rejected ones."""
    held, refused = list(locked), dict[str, str]()
    for pause in _LOCK_PAUSES:
        if not held:
            break
        await asyncio.sleep(pause)
        waiting, held = held, await store.account_lists.locked_accounts(held)
        batches = [*pieces(sorted({*waiting} - {*held}), _LOOK_AT)]
        while batches:
            batch = batches.pop()
            try:
                await store.detection.refresh_stats(batch, is_first=True)
            except WriteConflict:
                held += batch
            except (RowRefused, DatabaseError) as error:
                if len(batch) > 1:
                    batches += pieces(batch, -(-len(batch) // 2))
                    continue
                refused[batch[0]] = str(error)
                if len(refused) >= _STRIKES and len(refused) == len({*locked} - {*held}) - sum(
                    map(len, batches)
                ):
                    # None came through: no account is at fault.
                    raise
    if held:
        _log.warning(
            "Rows of trade_recon are locked by another transaction: the totals of their accounts"
            " were not written, and are next time.",
            action="maintenance.locked",
            accounts=len(held),
            sample=sorted(held)[:_SAMPLE],
        )
    return sorted(held), refused


async def maintain(
    store: Repositories, today: dt.date, run_id: RunId | None = None
) -> MaintenanceResult:
    """Repair ids, then renew account list and totals.

    Safe at any time: only differences are written, as the run's.
    """
    begun = time.monotonic()
    await store.staging.purge_dead(store.claims.lease_seconds)
    await store.claims.purge_dead_workers()
    result = await _fix_ids(store, await store.sweep.run(today), begun, today, run_id=run_id)
    _log.info(
        "Maintenance is done.",
        action="maintenance.done",
        **{name: value for name, value in result.as_json().items() if name != "unmatched"},
    )
    return result


async def find_ids(
    store: Repositories, account_ids: Sequence[AccountId], today: dt.date
) -> NaturalKeys | None:
    """Find ids, changing none; None without natural keys."""
    keys = await store.identity.refresh(account_ids, today)
    if not keys.logins:
        return None
    await store.identity.find(keys, account_ids, today)
    return keys


async def repair_ids(
    store: Repositories,
    account_ids: Sequence[AccountId],
    today: dt.date,
    run_id: RunId | None = None,
) -> int:
    """Repair these accounts' ids for the run; rows changed."""
    keys = await find_ids(store, account_ids, today)
    if keys is None:
        return 0
    repaired = await store.identity.repair(keys, today, run_id)
    rows = sum(repaired.rows.values())
    if rows:
        await store.identity.find(keys, account_ids, today)
    return rows


async def _record_identity_issues(store: Repositories, closed_as: ClosedAs = ClosedAs.GONE) -> None:
    odd = await store.detection.accounts_of_odd_rows()
    accounts = sorted({*await store.identity.affected_accounts(sorted(_BY_ITSELF)), *odd})
    for batch in pieces(accounts, _LOOK_AT):
        views = await store.detection.look_at_identity(batch)
        issues = {account_id: detect(view) for account_id, view in views.items()}
        await store.issue_history.record_issues(
            issues, sorted(_BY_ITSELF), note="mapping of account ids", closed_as=closed_as
        )


async def _close_refuted(store: Repositories) -> None:
    """Close issues that others repaired."""
    judged = sorted(_COUNTED)
    for batch in pieces(await store.account_lists.refuted_accounts(judged), _LOOK_AT):
        nothing: dict[AccountId, tuple[Issue, ...]] = dict.fromkeys(batch, ())
        await store.issue_history.record_issues(
            nothing, judged, note="counting; nothing was written", closed_as=ClosedAs.GONE
        )


async def _result(
    store: Repositories, repaired: Repaired, added: int, changed: int
) -> MaintenanceResult:
    findings, unmatched, ambiguous = await store.identity.unresolved(_SAMPLE)
    closed, opened = TABLES[Endpoint.CLOSED].name, TABLES[Endpoint.OPEN].name
    return MaintenanceResult(
        closed_trades_updated=repaired.rows[closed],
        open_trades_updated=repaired.rows[opened],
        md5_hashes_fixed=repaired.md5_rows,
        unmatched_combinations=unmatched + ambiguous,
        metrics_rows_updated=sum(
            rows for table, rows in repaired.rows.items() if table not in (closed, opened)
        ),
        ambiguous_combinations=ambiguous,
        accounts_added=added,
        totals_changed=changed,
        unmatched=[finding.shown() for finding in findings],
        history_from=store.applier.window.first,
        rows_before_history=sum((await store.sweep.rows_before()).values()),
    )
