"""What people see in a terminal: tables of results, and the progress of a run.

Results go to the console that the caller gives (stdout), progress and logs to stderr.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from app.cli.runtime import ExitCode, exit_code_of, failure_of
from app.domain.issues.codes import IssueCode, Severity
from app.domain.runs.fail_on import ACTION, FailOn
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind, RunStatus
from app.domain.wording.counts import choose, counted
from app.engine.service import ReconService
from app.errors import Conflict, DatabaseUnavailable, ReconError
from app.telemetry import get_logger

_LOOK_SECONDS = 0.2
_LOGGED_SECONDS = 10.0
_LOGGED_EVERY = 100
_PLAIN_WIDTH = 150
_DAYS_SHOWN = 5
_HOLDING_SHOWN = 10
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
_ACCOUNTS = ("total", *_OUTCOMES, "skipped", "waiting", "postponed")
_log = get_logger(__name__)

MEANINGS: Mapping[IssueCode, str] = {
    IssueCode.NULL_ACCOUNT_ID_CLOSED_TRADES: "closed trades without account id",
    IssueCode.NULL_ACCOUNT_ID_OPEN_TRADES: "open trades without account id",
    IssueCode.MISSING_METRICS_TABLES: "in some metrics tables, not in others",
    IssueCode.MISSING_TRADE_RECORDS: "alltime counts trades, none is stored",
    IssueCode.TRADE_COUNT_MISMATCH: "the tables' totals differ",
    IssueCode.DAILY_WITHOUT_HOURLY: "dates with daily trades and no hourly rows",
    IssueCode.HOURLY_WITHOUT_DAILY: "dates with hourly trades and no daily row",
    IssueCode.HOURLY_DAILY_MISMATCH: "dates on which hourly and daily differ",
    IssueCode.TRADES_DAILY_MISMATCH: "dates on which closed trades and daily differ",
    IssueCode.FOREIGN_ACCOUNT_ID: "rows under a placeholder or another account's id",
    IssueCode.AMBIGUOUS_IDENTITY: "a natural key fits several accounts: not guessed",
    IssueCode.UPSTREAM_DRIFT: "agrees with itself, but not with upstream",
    IssueCode.ABSENT_UPSTREAM: "rows that upstream does not send: kept",
    IssueCode.VALUE_DRIFT: "rows read whole differ where no count shows it",
    IssueCode.MONEY_MISMATCH: "net profit or lots differ where counts agree",
    IssueCode.UPSTREAM_INCONSISTENT: "upstream contradicts itself: nothing to heal",
    IssueCode.PINNED_BY_RESTORE: "pinned by restore: kept as restored",
    IssueCode.KEY_TOO_NARROW: "the table's key cannot hold two rows of upstream",
    IssueCode.IMPOSSIBLE_DATE: "rows of a date that no calendar holds: kept, not counted",
    IssueCode.UNSETTLED: "on dates that still move: the next run looks again",
    IssueCode.SUSPICIOUSLY_FEW_HOURS: "dates with many trades in one hourly row: for information",
    IssueCode.HISTORY_UNREAD: "what upstream counts before the history is unread",
}
"""Each issue in a few words."""


def results_console() -> Console:
    """The console for results: stdout, wide enough for the tables where it is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def plain_table(title: str, *columns: str) -> Table:
    """A table with its title on the left; columns whose name begins with `#` hold figures; they and
    the first do not wrap.
    """
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for place, column in enumerate(columns):
        justify: JustifyMethod = "right" if column.startswith("#") else "left"
        table.add_column(
            column.removeprefix("#"), justify=justify, no_wrap=place == 0 or column.startswith("#")
        )
    return table


def add_figure(table: Table, name: str, figure: int) -> None:
    """A row of a table with a figure, unless that is 0: what there is none of needs no line."""
    if figure:
        table.add_row(name, str(figure))


def issues_table(title: str, issues: Sequence[Mapping[str, Any]]) -> Table:
    """The open issues by type, as the report holds them."""
    table = plain_table(title, "issue", "severity", "#accounts", "meaning", "for example")
    for issue in issues:
        name = str(issue["issue_type"])
        sample = next(iter(issue["sample_accounts"]), "")
        table.add_row(
            name,
            severity_name(issue["severity"]),
            str(issue["account_count"]),
            short_meaning(name),
            sample,
        )
    return table


def short_meaning(issue: str) -> str:
    """An issue in a few words; a warehouse may hold some that another system recorded, with types
    of its own.
    """
    return {code.value: text for code, text in MEANINGS.items()}.get(
        issue, "recorded by another system"
    )


def severity_name(severity: int) -> str:
    """The severity's number, 1 being the worst and 5 for information, and its name, where it has
    one.
    """
    names = {int(known): known.name.lower() for known in Severity}
    return f"{severity} {names.get(severity, '')}".strip()


def show_report(console: Console, report: Mapping[str, Any]) -> None:
    """The report for a person; the same figures as its JSON."""
    overall, activity, identity, last = (
        report["overall"],
        report["recent_activity"],
        report["identity"],
        report["last_run"],
    )
    percentage = overall["reconciliation_percentage"]
    console.print(_standing(report), markup=False, soft_wrap=True)
    figures = plain_table("Accounts", "", "#")
    figures.add_row("all", str(overall["total_accounts"]))
    figures.add_row(
        "reconciled",
        f"{overall['reconciled']}" + ("" if percentage is None else f" ({percentage} %)"),
    )
    add_figure(figures, "need reconciliation", overall["needs_reconciliation"])
    add_figure(figures, "with issues", overall["has_issues"])
    add_figure(figures, "disagree, issue not recorded yet", report["disagree_without_issue"])
    add_figure(figures, "with failures", overall["has_failures"])
    for status, accounts in report["accounts_by_status"].items():
        add_figure(figures, f"status {status}", accounts)
    console.print(figures)
    console.print()
    if report["issues_by_type"]:
        console.print(issues_table("Open issues", report["issues_by_type"]))
        console.print()
    if report["history_from"] is not None:
        console.print(
            f"Compared from: {report['history_from']}, by RECON_HISTORY_FROM; rows of earlier dates"
            " are left alone."
        )
    _print_unused(console, report["money_relations"])
    _show_through(console, report)
    _show_accepted(console, report["accepted"])
    console.print(
        f"Last seven days: {counted(activity['accounts_checked'], 'check')} of accounts (each"
        f" counts once for each run that took it): {activity['resolved']} resolved,"
        f" {activity['failed']} failed"
    )
    if identity["unmatched"] or identity["ambiguous"]:
        console.print(
            f"Natural keys without an account: {identity['unmatched']}, that fit several:"
            f" {identity['ambiguous']}"
        )
    for key in identity["sample"]:
        console.print(f"  {natural_key(key)}", markup=False, soft_wrap=True)
    opened = report["open_trades"]
    if opened is not None:
        console.print(_open_trades(opened), markup=False, soft_wrap=True)
    _show_last_run(console, last, report["message"])
    holding = report["holding_run"]
    if holding is not None and (last is None or holding["run_id"] != last["run_id"]):
        console.print(
            f"Accounts are held by: {holding['kind']} {holding['run_id']}, {holding['status']},"
            f" ended {holding['finished_at']}"
        )
        console.print(f"  {holding['error']}", markup=False, soft_wrap=True)


def _print_unused(console: Console, relations: Sequence[Mapping[str, Any]]) -> None:
    """The relations between amounts that are not used, those of one reason together."""
    unused: dict[str, list[str]] = {}
    for relation in relations:
        if not relation["is_used"]:
            unused.setdefault(relation["reason"], []).append(relation["relation"])
    for reason, names in unused.items():
        told = "all of them" if len(names) == len(relations) else ", ".join(names)
        console.print(
            f"Amounts not compared: {told}, since {reason}.", markup=False, soft_wrap=True
        )


def _show_through(console: Console, report: Mapping[str, Any]) -> None:
    """The date through which all is reconciled, why it is no later one, and the accounts that hold
    it back.
    """
    told, reason = (
        report["reconciled_through_told"].removeprefix("through "),
        report["reconciled_through_reason"],
    )
    # Where no account is known the first sentence said so.
    why = "" if reason == report["message"] else f" {reason}"
    console.print(f"Reconciled through: {told}.{why}", markup=False, soft_wrap=True)
    console.print(report["audited"], markup=False, soft_wrap=True)
    rows, accounts = report["held_back_by"], report["holding_accounts"]
    for row in rows[:_HOLDING_SHOWN]:
        since = f"from {row['first_date']} on" if row["first_date"] else "no date is known"
        console.print(
            f"  held back by {row['account_id']}: {row['issue'] or 'not looked at yet'}, {since}",
            markup=False,
            soft_wrap=True,
        )
    if accounts > _HOLDING_SHOWN:
        console.print(
            f"  and {accounts - _HOLDING_SHOWN} more: `trade-recon accounts list --issue CODE`",
            soft_wrap=True,
        )


def _show_accepted(console: Console, accepted: Mapping[str, Any] | None) -> None:
    """What is accepted, in figures."""
    if accepted is None:
        return
    codes = ", ".join(
        f"{code} {accounts}" for code, accounts in sorted(accepted["by_issue"].items())
    )
    told = (
        f"Accepted: {counted(accepted['issues'], 'issue')} of"
        f" {counted(accepted['accounts'], 'account')} ({codes}), the first until"
    )
    console.print(
        f"{told} {accepted['first_until']}: `trade-recon accept --list`",
        markup=False,
        soft_wrap=True,
    )


def _show_last_run(console: Console, last: Mapping[str, Any] | None, said: str | None) -> None:
    """The newest run that ended: how, and what it left, but for what was `said` already."""
    if last is None:
        return
    console.print(
        f"Last run: {last['kind']} {last['run_id']}, {last['status']},"
        f" {counted(last['requests'], 'request')}, ended {last['finished_at']}"
    )
    for told in (last["left_told"], last["error"]):
        if told and told != said:
            console.print(f"  {told}", markup=False, soft_wrap=True)


def _standing(report: Mapping[str, Any]) -> str:
    """How the warehouse stands, in one sentence."""
    overall, through = report["overall"], report["reconciled_through"]
    if not overall["total_accounts"]:
        return str(report["message"])
    held, has_issues = (
        report["accounts_by_status"].get("needs_confirmation", 0),
        overall["has_issues"],
    )
    reconciled = f"{overall['reconciled']} of {counted(overall['total_accounts'], 'account')}"
    waiting = (
        f", {counted(held, 'account')} {choose(held, 'waits', 'wait')} for confirmation"
        if held
        else ""
    )
    told = report["reconciled_through_told"]
    date = (
        f"all is reconciled {told}" if through else f"through which date all is reconciled {told}"
    )
    rests_on = f" {report['message']}" if report["message"] else ""
    return (
        f"{reconciled} {choose(overall['reconciled'], 'is', 'are')} reconciled, {has_issues}"
        f" {choose(has_issues, 'has', 'have')} open issues{waiting}; {date}.{rests_on}"
    )


def _open_trades(opened: Mapping[str, Any]) -> str:
    if opened["error"]:
        return f"Open trades were not compared with upstream's snapshot: {opened['error']}"
    told = (
        f"Open trades: {opened['upstream']} in upstream's snapshot, {opened['stored']} stored of"
        " its dates"
    )
    days = [
        f"{day['date']} ({day['upstream']} and {day['stored']})"
        for day in opened["dates"][:_DAYS_SHOWN]
    ]
    more = opened["dates_that_differ"] - len(days)
    shown = f"{'; different on ' if days else ''}{', '.join(days)}"
    return f"{told}{shown}{f' and {more} more' if more else ''}"


def natural_key(key: Mapping[str, Any]) -> str:
    """A natural key that fits no account or several: its rows, and whose they may be."""
    return (
        f"{key['table']}: login {key['login']}, platform {key['platform']}, broker {key['broker']},"
        f" {counted(key['rows'], 'row')}, account id {key['account_id'] or 'missing'}, candidates:"
        f" {', '.join(key['candidates']) or 'none'}"
    )


def show_failure(console: Console, state: Mapping[str, Any], fail_on: FailOn) -> None:
    """Why the command ends with 1 where the caller chose what counts; by default the run's own
    words tell.
    """
    if fail_on is not ACTION and exit_code_of(state, fail_on) is ExitCode.ISSUES_LEFT:
        reason = failure_of(state, fail_on) if state["left"] is not None else None
        console.print(
            f"Ends with 1: {reason or 'the run needs a word'}.", markup=False, soft_wrap=True
        )


def show_run(console: Console, state: Mapping[str, Any]) -> None:
    """How a run ended."""
    accounts, rows = state["accounts"], state["rows"]
    console.print(_ended(state), markup=False, soft_wrap=True)
    for told in (state["left_told"], state["rests_on"]):
        if told is not None:
            console.print(told, markup=False, soft_wrap=True)
    table = plain_table("", "", "#")
    for name in _ACCOUNTS:
        add_figure(table, f"accounts {name.replace('_', ' ')}", accounts[name])
    for name, count in rows.items():
        add_figure(table, f"rows {name.replace('_', ' ')}", count)
    add_figure(table, "values that cannot be stored as sent", state["values_nulled"])
    if state["history_from"] is not None:
        table.add_row("compared from", str(state["history_from"]))
        table.add_row(
            "rows stored of earlier dates",
            str(state["maintenance"].get("rows_before_history", "-")),
        )
    add_figure(table, "requests to upstream", state["requests"])
    table.add_row("seconds", run_seconds(state))
    console.print(table)
    if state["compared"] is not None:
        console.print(_compared(state["compared"]), markup=False, soft_wrap=True)
    if state["open_trades"] is not None:
        console.print(_open_trades(state["open_trades"]), markup=False, soft_wrap=True)
    if state["error"]:
        console.print(state["error"], markup=False, soft_wrap=True)


def _ended(state: Mapping[str, Any]) -> str:
    """How a run stands, in one sentence."""
    accounts, rows = state["accounts"], state["rows"]
    written = sum(rows[name] for name in ("inserted", "updated", "moved", "removed"))
    outcomes = [
        f"{accounts[name]} {name.replace('_', ' ')}" for name in _OUTCOMES if accounts[name]
    ]
    split = f" ({', '.join(outcomes)})" if outcomes else ""
    told = f"{counted(accounts['done'], 'account')} done{split}"
    left = f", {accounts['waiting']} left" if accounts["waiting"] else ""
    return (
        f"Run {state['run_id']} ({state['kind']}): {state['status']}, with {told}{left},"
        f" {counted(written, 'row')} written and {counted(state['requests'], 'request')}."
    )


def _compared(compared: Mapping[str, Any]) -> str:
    """What was compared row by row, as a sentence."""
    tables = ", ".join(
        f"{table['table']} {table['rows']} x {table['columns']}" for table in compared["tables"]
    )
    differing = compared["differing"]
    return (
        f"Compared row by row: {counted(compared['rows'], 'row')} ({tables} columns);"
        f" {counted(differing, 'row')} differed before the run wrote anything."
    )


def run_seconds(state: Mapping[str, Any]) -> str:
    """How long a run took from its start to its end."""
    if state["started_at"] is None or state["finished_at"] is None:
        return "-"
    return f"{(state['finished_at'] - state['started_at']).total_seconds():.1f}"


async def start_or_join(
    service: ReconService, request: RunRequest, reason: str | None = None
) -> tuple[UUID, bool]:
    """A run for the request, and whether it was started for it: where a full run is active already,
    that one is helped with.
    """
    try:
        return await service.start_run(request, reason=reason), True
    except Conflict as error:
        # Perhaps nobody works on it any more: whoever started it may have been killed.
        Console(stderr=True).print(
            f"A full run is active already: this command helps with {error.run_id}, and starts"
            " none.",
            markup=False,
        )
        return error.run_id, False


async def serve_run(
    service: ReconService, run_id: UUID, *, is_ours: bool = True
) -> Mapping[str, Any]:
    """Work on the run in this process until it is over or paused, showing its progress; how it
    stands then.

    A cancellation ends it in order: accounts are released, what was healed stays, and the run is
    `cancelled`; one that is not ours goes on.
    """
    working = asyncio.create_task(service.pool.run_until_finished(run_id))
    try:
        with _progress() as show:
            while not working.done():
                await asyncio.wait({working}, timeout=_LOOK_SECONDS)
                # The workers tell that the database is away, and go on when it is back.
                with contextlib.suppress(DatabaseUnavailable):
                    show(await service.readings.run_state(run_id))
        await working
    except asyncio.CancelledError:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        if is_ours:
            # Without PostgreSQL the run stays open, and the next process that serves takes it up.
            with contextlib.suppress(ReconError):
                reason = (
                    "The run was interrupted where it was started; what was healed until then stays"
                    " healed."
                )
                await service.store.control.cancel(run_id, reason)
        raise
    return await service.readings.run_state(run_id)


async def finish_left_runs(service: ReconService, kind: RunKind | None = None) -> None:
    """Finish what processes left that were killed, of one kind (None: of any).

    A command line that starts runs may be all that ever comes to them.
    """
    claims = service.store.claims
    for row in await service.store.active_runs.left(claims.worker_id, claims.lease_seconds):
        if kind is not None and row["kind"] != kind:
            continue
        Console(stderr=True).print(
            f"The {row['kind']} run {row['run_id']} of {row['created_at']:%Y-%m-%d %H:%M} UTC was"
            " left by a process that is gone: this command finishes it.",
            markup=False,
            soft_wrap=True,
        )
        await serve_run(service, row["run_id"], is_ours=False)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _ProgressLog().show
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("preparing", total=None)

        def show(state: Mapping[str, Any]) -> None:
            accounts, waits = state["accounts"], state["waiting_for"]
            known = (
                {"total": accounts["total"], "completed": _accounts_done(state)}
                if accounts["total"]
                else {}
            )
            described = (
                waits[0]["message"]
                if waits
                else f"accounts ({_spent(state)})"
                if known
                else "preparing"
            )
            progress.update(task, description=escape(described), **known)

        yield show


def _accounts_done(state: Mapping[str, Any]) -> int:
    """Accounts that are done, and those of batches under way of which nothing more is to be
    read.
    """
    under_way = state.get("under_way")
    return int(state["accounts"]["done"] + (under_way["done"] if under_way else 0))


def _figures(state: Mapping[str, Any]) -> dict[str, int]:
    """Requests sent and rows written so far, those of batches under way included."""
    under_way = state.get("under_way") or {"requests": 0, "rows_written": 0}
    written = sum(rows for name, rows in state["rows"].items() if name != "set_aside")
    return {
        "requests": state["requests"] + under_way["requests"],
        "rows": written + under_way["rows_written"],
    }


def _spent(state: Mapping[str, Any]) -> str:
    figures = _figures(state)
    return f"{counted(figures['requests'], 'request')}, {counted(figures['rows'], 'row')} written"


class _ProgressLog:
    """A line in the log every hundred accounts, every ten seconds in which anything was read or
    written, and at the end.
    """

    def __init__(self) -> None:
        self._logged = 0
        self._figures: Mapping[str, int] = {}
        self._logged_at = -math.inf
        self._is_over = False

    def show(self, state: Mapping[str, Any]) -> None:
        done, total, figures = _accounts_done(state), state["accounts"]["total"], _figures(state)
        is_end = RunStatus(state["status"]).is_end and not self._is_over
        is_due = figures != self._figures and time.monotonic() - self._logged_at >= _LOGGED_SECONDS
        if done // _LOGGED_EVERY > self._logged // _LOGGED_EVERY or is_due or is_end:
            _log.info(
                "Accounts were reconciled.",
                action="run.progress",
                run_id=str(state["run_id"]),
                done=done,
                total=total,
                **figures,
            )
            self._logged, self._is_over = done, is_end
            self._figures, self._logged_at = figures, time.monotonic()
