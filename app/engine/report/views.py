"""What the engine tells about itself: a run, an account, the report. Nothing here asks upstream."""

import datetime as dt
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec

from app.domain.contract.tables import TABLES
from app.domain.holds.waiting import Waiting
from app.domain.runs.emptiness import NO_TRADES, NOBODY_KNOWN
from app.domain.runs.grounds import Basis, audited
from app.domain.runs.leftovers import Leftovers, standing_status
from app.domain.runs.waits import Wait, guarded
from app.domain.states import Depth, Outcome, RunStatus
from app.domain.wording.counts import choose, counted
from app.engine.config import EngineConfig
from app.engine.report.waits import WaitReasons, as_json
from app.engine.repositories import Repositories
from app.errors import InvalidRequest
from app.store.claims.batch_progress import Progressed
from app.store.database.transaction import Connection, Record
from app.store.report.account_reader import AccountReport
from app.store.report.figures import Horizon, ReportFigures
from app.store.report.report import KeptFigures
from app.store.restore.changed_rows import ChangedRow, ChangedRows, Picked
from app.store.restore.inserted_rows import Inserted
from app.upstream.client import UpstreamClient
from app.upstream.resilience.breaker import BreakerState
from app.upstream.stats import ApiStatistics

_OUTCOMES = (
    "unchanged",
    "healed",
    "explained",
    "partial",
    "failed",
    "flapping",
    "needs_confirmation",
    "gone",
    "found",
)
_BESIDE = ("total", "skipped", "waiting", "postponed")
_COMPARED = (
    "unchanged",
    "healed",
    "explained",
    "partial",
    "flapping",
    "needs_confirmation",
    "found",
)
_AUDITED = ("finished_at", "run_id", "left_out")
_RUN = (
    "run_id",
    "kind",
    "status",
    "created_at",
    "started_at",
    "finished_at",
    "stop_at",
    "confirmed_at",
    "history_from",
)
_UNMATCHED_SHOWN = 20
_NAMED = 20
_NULLED_SHOWN = 100
_DATES_SHOWN = 2_000
_ACTIVE = dt.timedelta(days=7)
_ACTIVITY = ("accounts_checked", "resolved", "failed")
_CURSOR = re.compile(r"0|[1-9][0-9]{0,18}")
_LARGEST_CURSOR = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ApiUse:
    """The use of the API by this process since it started, and whether requests flow at this
    moment.
    """

    breaker: BreakerState
    statistics: ApiStatistics


@dataclass(frozen=True, slots=True)
class ReportSnapshot:
    """What PostgreSQL knows of the report: the figures, the newest run that ended, the newest that
    holds accounts, the newest audit.
    """

    counted: KeptFigures
    last_run: Record | None
    holding_run: Record | None = None
    last_audit: Record | None = None


class Readings:
    """Reads the record; `client`, where there is one, adds this process's API statistics."""

    def __init__(
        self,
        store: Repositories,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
        client: UpstreamClient | None = None,
    ) -> None:
        """Bind the parts; `now` gives the time (aware)."""
        self._store = store
        self._config = config
        self._now = now
        self._client = client
        self._waiting = WaitReasons(store.waits, config.lease_seconds)

    def today(self) -> dt.date:
        """The business date."""
        return self._config.today(self._now())

    async def run_state(self, run_id: uuid.UUID) -> Mapping[str, object]:
        """A run as it stands, as JSON shows it; NotFound if there is none."""
        stored = await self._store.run_reader.get(run_id)
        still = (
            await self._store.run_reader.still_held(run_id, self.today())
            if stored["needs_confirmation"]
            else 0
        )
        row = _standing(stored, still)
        state = {name: row[name] for name in _RUN}
        accounts = {name: row[name] for name in (*_BESIDE, *_OUTCOMES)}
        waits = await self._waiting.of(stored)
        done = sum(row[name] for name in _OUTCOMES)
        left = row["waiting"] if row["finished_at"] is not None else 0
        pinned = (
            await self._store.run_reader.pinned_rows(run_id)
            if row["finished_at"] is not None
            else 0
        )
        under_way = (
            await self._store.under_way.of_run(run_id)
            if row["finished_at"] is None
            else Progressed()
        )
        return {
            **state,
            "error": _told(row, still, left),
            "waiting_for": [as_json(wait) for wait in waits or _guarding(row, still)],
            "request": row["request"],
            "accounts": {**accounts, "done": done},
            # What is recorded by now may have been told as under way a moment ago.
            "under_way": (
                {**asdict(under_way), "done": min(under_way.done, row["waiting"])}
                if under_way.accounts
                else None
            ),
            **_leftovers(row, still),
            "rests_on": _rests_on_run(row, pinned),
            "known_accounts": row["known_accounts"],
            "gone_accounts": (
                await self._store.run_reader.gone_accounts(run_id, _NAMED) if row["gone"] else []
            ),
            "total_processed": done,
            "fully_resolved": row["unchanged"] + row["healed"] + row["explained"],
            "partially_resolved": row["partial"],
            "failed": row["failed"],
            "skipped_due_to_previous_failure": row["skipped"],
            "rows": {
                name: row[f"rows_{name}"]
                for name in ("inserted", "updated", "moved", "removed", "set_aside")
            },
            "values_nulled": row["values_nulled"],
            "requests": row["requests"],
            "phases": row["phases"],
            "api_stats": row["api"],
            "maintenance": row["maintenance"],
            "compared": shown_comparison(row["compared"] or None, row["requests"]),
            "open_trades": row["named_open_trades"],
            "orders": [dict(each) for each in await self._store.orders.of_run(run_id)],
        }

    async def runs(
        self,
        statuses: Sequence[str] | None,
        kinds: Sequence[str] | None,
        before: uuid.UUID | None,
        limit: int,
    ) -> Mapping[str, object]:
        """Runs, newest first, at most `limit`, and the run to go on from where there are more;
        NotFound if there is no run `before`.
        """
        rows = await self._store.run_reader.listed(statuses, kinds, before, limit + 1, self.today())
        shown = [_listed(row) for row in rows[:limit]]
        return {
            "runs": shown,
            "next_before": rows[limit - 1]["run_id"] if len(rows) > limit else None,
        }

    async def held_accounts(self, run_id: uuid.UUID, limit: int) -> list[Record]:
        """The first accounts that a run holds, with the reason."""
        return await self._store.run_reader.held_accounts(run_id, limit, self.today())

    async def accounts(
        self, statuses: Sequence[str] | None, issue: str | None, after: str | None, limit: int
    ) -> list[Record]:
        """Accounts in the order of their ids, at most `limit`: of these states and with this open
        issue (None: any), behind `after`.
        """
        return await self._store.account_reader.accounts(
            statuses, issue, after, limit, self.today()
        )

    async def run_result(self, run_id: uuid.UUID) -> Mapping[str, object]:
        """What a run did to rows by table, date, broker and issue; NotFound if there is none."""
        rows, issues = await self._store.run_reader.result(run_id)
        of_level = {
            level: [dict(row) for row in rows if row["level"] == level]
            for level in ("table", "date", "broker")
        }
        dates = sorted(
            of_level["date"],
            key=lambda row: (row["date"] or dt.date.max, row["table"]),
            reverse=True,
        )[:_DATES_SHOWN]
        by_issue = [dict(row) for row in issues]
        return {
            "run_id": run_id,
            "by_table": of_level["table"],
            "by_date": dates,
            "by_broker": of_level["broker"],
            "by_issue": by_issue,
        }

    async def account(self, account_id: str) -> AccountReport:
        """One account with its history; NotFound if it is unknown."""
        return await self._store.account_reader.account(account_id, self.today())

    async def report(self) -> Mapping[str, object]:
        """The report in the shape that existing users read, and what they did not have, counted
        now.
        """
        runs = await self._store.reports.newest_runs(self.today())
        return self.shown(
            ReportSnapshot(await self._store.reports.counted(self._figures, self._horizon()), *runs)
        )

    async def kept(self) -> ReportSnapshot:
        """What PostgreSQL knows of the report, as it was last counted; counted now if it never was,
        or an acceptance ended since.
        """
        # In this order: a run is counted before it ends, so that figures read after it are not
        # older.
        runs = await self._store.reports.newest_runs(self.today())
        kept = await self._store.reports.kept()
        if kept is not None and _is_outdated(kept.figures, self.today()):
            kept = None
        return ReportSnapshot(
            kept or await self._store.reports.counted(self._figures, self._horizon()), *runs
        )

    async def keep_report(self, least_seconds: float = 0, share: float = 0) -> bool:
        """Count the figures of the report and keep them for `kept`.

        False if somebody else is at it, or was less than `least_seconds`, or `share` times as long
        as that took, ago.
        """
        return await self._store.reports.keep(self._figures, self._horizon(), least_seconds, share)

    def _horizon(self) -> Horizon:
        return Horizon(self.today(), self._config.moving_from(self._now()))

    async def _figures(self, figures: ReportFigures, connection: Connection) -> Mapping[str, Any]:
        """What is kept: all that changes with what is recorded, and nothing that changes with the
        time, as JSON has it.
        """
        findings, unmatched, ambiguous = await self._store.identity.unresolved(
            _UNMATCHED_SHOWN, connection
        )
        shown: Mapping[str, Any] = msgspec.to_builtins(
            {
                "overall": figures.overall,
                "issues_by_type": figures.issues,
                "activity": figures.activity,
                "doubts": figures.doubts,
                "accounts_by_status": figures.statuses,
                "open_trades": figures.open_trades,
                "history_from": figures.history_from,
                "accepted": figures.accepted,
                "holding": [dict(row) for row in figures.holding],
                "disagree_without_issue": figures.undetailed,
                "accounts_with_trades": figures.with_trades,
                "money_relations": figures.money,
                "identity": {
                    "unmatched": unmatched,
                    "ambiguous": ambiguous,
                    "sample": [finding.shown() for finding in findings],
                },
            }
        )
        return shown

    def shown(self, kept: ReportSnapshot) -> Mapping[str, object]:
        """The report as JSON shows it now, with what this process knows beside what was kept."""
        shown = kept.counted.figures
        first_day = (kept.counted.read_at - _ACTIVE).date().isoformat()
        days = [day for day in shown["activity"] if day["day"] >= first_day]
        through, reason = self._through(shown)
        return {
            "as_of": kept.counted.computed_at,
            "overall": shown["overall"],
            "issues_by_type": shown["issues_by_type"],
            "recent_activity": {
                **{name: sum(day[name] for day in days) for name in _ACTIVITY},
                "days": days,
            },
            "history_from": shown.get("history_from"),
            "money_relations": shown.get("money_relations", []),
            "reconciled_through": through,
            "reconciled_through_reason": reason,
            **_beside_through(shown, through),
            "audited": (
                audited(*(kept.last_audit[name] for name in _AUDITED))
                if kept.last_audit
                else audited(None, None)
            ),
            "accounts_by_status": shown["accounts_by_status"],
            # Figures that an earlier version kept have neither of these.
            "disagree_without_issue": shown.get("disagree_without_issue", 0),
            "message": _rests_on(shown),
            "identity": shown["identity"],
            # Figures that an earlier version kept have none.
            "open_trades": shown.get("open_trades"),
            "api": self._api(),
            "last_run": _shown_run(kept.last_run),
            # Where no account waits any more, what that run held was healed by others since.
            "holding_run": (
                _shown_run(kept.holding_run)
                if shown["accounts_by_status"].get(Outcome.NEEDS_CONFIRMATION)
                else None
            ),
        }

    def _through(self, shown: Mapping[str, Any]) -> tuple[dt.date | None, str]:
        """The date through which everything is reconciled (None while that cannot be said), and why
        it is no later one.
        """
        if not shown["overall"]["total_accounts"]:
            return None, NOBODY_KNOWN
        settled = self._config.moving_from(self._now())
        first, reason = settled, f"Dates from {settled} on still move."
        # Figures that an earlier version kept tell none: they are counted again within a minute.
        for doubt in shown.get("doubts", ()):
            if doubt["first_date"] is None:
                return None, doubt["reason"]
            day = dt.date.fromisoformat(doubt["first_date"])
            if day < first:
                first, reason = day, doubt["reason"]
        return (None if first == dt.date.min else first - dt.timedelta(days=1)), reason

    async def changes(self, since: str | None, limit: int) -> Mapping[str, object]:
        """The slices written after the cursor `since` (None: all), about `limit` of them, and the
        cursor behind them.

        Raises InvalidRequest if `since` is no cursor.
        """
        cursor = 0 if since is None else _cursor(since)
        page = await self._store.feed.since(cursor, limit)
        return {
            "changes": [asdict(change) for change in page.changes],
            "next": str(page.next),
            "more": page.more,
        }

    async def changed_rows(
        self, picked: Picked, limit: int, inserted_before: int | None = None
    ) -> Mapping[str, object]:
        """What became of rows, at most `limit` changes, newest first; on the first page also what
        was inserted, and stored as NULL.

        `inserted_before`: nothing but what earlier transactions inserted.
        """
        changed = ChangedRows(self._store.database)
        is_first = picked.before is None and inserted_before is None
        rows = [] if inserted_before is not None else await changed.page(picked, limit)
        nulled = await changed.nulled(picked, _NULLED_SHOWN) if is_first else []
        told = replace(picked, before=inserted_before)
        inserted = (
            await Inserted(self._store.database).page(told, limit)
            if is_first or inserted_before is not None
            else []
        )
        is_full = len({row.change_id for row in inserted}) == limit
        return {
            "rows": [_shown_change(row) for row in rows],
            "next": rows[-1].copy.removed_id if len(rows) == limit else None,
            "inserted": [asdict(row) for row in inserted],
            "inserted_next": inserted[-1].change_id if is_full else None,
            "nulled": [asdict(row) for row in nulled],
        }

    async def is_ready(self) -> bool:
        """Whether the database answers with our schema; DatabaseUnavailable or DatabaseError if
        not.
        """
        return await self._store.reports.is_ready()

    def api_use(self) -> ApiUse | None:
        """How this process uses the API; None for a face that needs none."""
        return (
            None
            if self._client is None
            else ApiUse(self._client.breaker_state, self._client.statistics)
        )

    def api_state(self) -> tuple[object, ...] | None:
        """What the report's account of the API depends on: while it is the same, so is that."""
        use = self.api_use()
        return None if use is None else (use.breaker, use.statistics.requests)

    def _api(self) -> Mapping[str, object] | None:
        use = self.api_use()
        return (
            None
            if use is None
            else {"breaker": use.breaker.value, "since_start": use.statistics.snapshot()}
        )


def shown_comparison(
    compared: Mapping[str, Mapping[str, int]] | None, requests: int | None
) -> Mapping[str, object] | None:
    """What was compared row by row, as JSON shows it; None where only counts were."""
    if compared is None:
        return None
    tables = [
        {"table": table.name, **compared[table.name]}
        for table in TABLES.values()
        if table.name in compared
    ]
    return {
        "tables": tables,
        "rows": sum(table["rows"] for table in compared.values()),
        "columns": sum(table["columns"] for table in compared.values()),
        "differing": sum(table["differing"] for table in compared.values()),
        "requests": requests,
    }


def _rests_on_run(row: Mapping[str, Any], pinned: int) -> str | None:
    """What a run that ended compared; None while it goes on."""
    if row["finished_at"] is None:
        return None
    request = row["request"] if isinstance(row["request"], dict) else {}
    ids, depth = request.get("account_ids"), request.get("depth")
    return Basis(
        row["kind"],
        depth == Depth.ROWS or (depth is None and ids is not None),
        None if ids is None else len(ids),
        bool(request.get("changed_only")),
        row["total"] - row["unchanged"],
        row.get("known_accounts"),
        row["requests"],
        row["started_at"],
        row["prepared_at"] is not None,
        row["history_from"],
        sum(row[name] for name in _COMPARED),
        row["skipped"],
        row["failed"] + row["gone"] + row["waiting"],
        pinned,
    ).sentence


def _is_outdated(shown: Mapping[str, Any], today: dt.date) -> bool:
    """Whether figures count something as accepted that is so no more today: they were counted
    before that date came.
    """
    accepted = shown.get("accepted")
    return bool(
        accepted
        and accepted["first_until"]
        and dt.date.fromisoformat(accepted["first_until"]) <= today
    )


def _beside_through(shown: Mapping[str, Any], through: dt.date | None) -> Mapping[str, object]:
    """What stands beside the date: the accounts of which issues are accepted, and those that hold
    the date back.
    """
    accepted, holding = shown.get("accepted"), shown.get("holding", ())
    is_any = accepted is not None and accepted["accounts"] > 0
    return {
        "accepted": accepted if is_any else None,
        "reconciled_through_told": _through_told(through, accepted if is_any else None),
        "holding_accounts": holding[0]["accounts"] if holding else 0,
        "held_back_by": [
            {name: row[name] for name in ("account_id", "issue", "first_date")} for row in holding
        ],
    }


def _through_told(through: dt.date | None, accepted: Mapping[str, Any] | None) -> str:
    """The date, but for what is accepted, as in "through 2026-11-24, but for 2 accounts accepted
    until 2027-03-01".
    """
    date = f"through {through}" if through else "cannot be said"
    if accepted is None:
        return date
    first, last = accepted["first_until"], accepted["last_until"]
    until = (
        f"accepted until {first}"
        if first == last
        else f"accepted until dates from {first} to {last}"
    )
    return f"{date}, but for {counted(accepted['accounts'], 'account')} {until}"


def _rests_on(shown: Mapping[str, Any]) -> str | None:
    """What is to be said of figures that rest on nothing."""
    if not shown["overall"]["total_accounts"]:
        return NOBODY_KNOWN
    return None if shown.get("accounts_with_trades", 1) else NO_TRADES


def _shown_run(stored: Record | None) -> Mapping[str, Any] | None:
    """A run in the report, with the accounts that it holds in its sentence."""
    if stored is None:
        return None
    row = _standing(stored, stored["still_held"])
    only_told = ("newly_held", "held_since", "confirmed_at", "left_over", "still_held")
    shown: Mapping[str, Any] = msgspec.to_builtins(
        {name: value for name, value in row.items() if name not in only_told}
    )
    return {**shown, "error": _told(row, row["still_held"]), **_leftovers(row, row["still_held"])}


def _standing(row: Record, still: int) -> Mapping[str, Any]:
    """A run with the status that it has by now: later runs and acceptances may have ended what it
    held.
    """
    left = Leftovers.from_json(row["left_over"])
    return {
        **row,
        "status": standing_status(row["status"], left, held=row["needs_confirmation"], still=still),
    }


def _leftovers(row: Mapping[str, Any], still: int) -> Mapping[str, Any]:
    """What a run left, in figures and in words, and whether somebody must act; nulls while that is
    not known.
    """
    left = Leftovers.from_json(row["left_over"])
    if left is None:
        return {"left": None, "left_told": None, "needs_somebody": None}
    left = left.with_held(still)
    acts = left.needs_somebody or row["status"] not in (
        RunStatus.SUCCEEDED,
        RunStatus.COMPLETED_WITH_ISSUES,
    )
    return {"left": left.as_json(), "left_told": left.sentence, "needs_somebody": acts}


def _told(row: Mapping[str, Any], still: int, left: int = 0) -> str | None:
    """Why a run ended as it did, how many of its accounts are left, and how many are held, with
    what to do; None if all is in order.
    """
    if row["finished_at"] is None:
        return None if row["error"] is None else str(row["error"])
    ended = row["error"] or ("The run ended early." if left else "")
    rest = f"{left} of its accounts {choose(left, 'is', 'are')} left." if left else ""
    waiting = Waiting(
        row["run_id"],
        row["status"],
        row["needs_confirmation"],
        row["newly_held"],
        row["held_since"],
        row["confirmed_at"] is not None,
        still,
    )
    return " ".join(filter(None, (ended, rest, waiting.sentence))) or None


def _listed(stored: Record) -> Mapping[str, object]:
    """A run among others: what a list needs, which is read from its row alone."""
    row = _standing(stored, stored["still_held"])
    return {
        **{name: row[name] for name in _RUN},
        "error": _told(row, row["still_held"]),
        "needs_somebody": _leftovers(row, row["still_held"])["needs_somebody"],
        "total": row["total"],
        "done": sum(row[name] for name in _OUTCOMES),
        **{name: row[name] for name in ("healed", "failed", "needs_confirmation", "requests")},
        "rows_written": sum(
            row[f"rows_{name}"] for name in ("inserted", "updated", "moved", "removed")
        ),
    }


def _guarding(row: Mapping[str, Any], still: int) -> list[Wait]:
    """That a guard stopped the run, or holds accounts of it, until somebody confirms."""
    if row["status"] != RunStatus.NEEDS_CONFIRMATION:
        return []
    return [guarded(_told(row, still) or "", row["finished_at"], still)]


def _shown_change(row: ChangedRow) -> Mapping[str, object]:
    copy = row.copy
    return {
        "id": copy.removed_id,
        "changed_at": copy.removed_at,
        "account_id": copy.account_id,
        "table": copy.table,
        "date": copy.date,
        "key": copy.key,
        "reason": copy.reason.value,
        "run_id": copy.run_id,
        "run_kind": row.run_kind,
        "issues": list(row.issues),
        "restored_at": copy.restored_at,
        "columns": [asdict(column) for column in row.columns],
        "new_from": row.new_from,
        "is_written_since": row.is_written_since,
        "stood_already": row.stood_already,
        "right_date": copy.right_date,
        "is_restore": row.is_restore,
        "restored_with": row.restored_with,
    }


def _cursor(text: str) -> int:
    if not _CURSOR.fullmatch(text) or int(text) > _LARGEST_CURSOR:
        raise InvalidRequest(
            "`since` is no cursor of this feed: give the `next` of an earlier answer, or leave it"
            " out to begin at the beginning."
        )
    return int(text)
