"""Prints runs."""

import msgspec
from rich.console import Console

from app.cli.output.tables import add_figure, plain_table
from app.cli.runtime import ExitCode, exit_code_of, failure_of
from app.domain.runs.fail_on import ACTION, FailOn
from app.domain.wording.counts import counted
from app.engine.report.models.runs import (
    ComparedRows,
    ListedRun,
    OpenTradesCompared,
    RunAccounts,
    RunState,
)

_DAYS_SHOWN = 5


def show_failure(console: Console, state: RunState, fail_on: FailOn) -> None:
    """Why the command ends with 1, if conditions were chosen."""
    if fail_on is not ACTION and exit_code_of(state, fail_on) is ExitCode.ISSUES_LEFT:
        reason = failure_of(state, fail_on) if state.left is not None else None
        console.print(
            f"Ends with 1: {reason or 'the run waits for confirmation or is paused'}.",
            markup=False,
            soft_wrap=True,
        )


def show_run(console: Console, state: RunState) -> None:
    """Print how a run ended."""
    console.print(_ended(state), markup=False, soft_wrap=True)
    for told in (state.left_told, state.rests_on):
        if told is not None:
            console.print(told, markup=False, soft_wrap=True)
    table = plain_table("", "", "#")
    accounts, rows = msgspec.structs.asdict(state.accounts), msgspec.structs.asdict(state.rows)
    accounts.pop("done")
    for name, number in accounts.items():
        add_figure(table, f"accounts {name.replace('_', ' ')}", number)
    for name, number in rows.items():
        add_figure(table, f"rows {name.replace('_', ' ')}", number)
    add_figure(table, "values that cannot be stored as sent", state.values_nulled)
    if state.history_from is not None:
        table.add_row("compared from", str(state.history_from))
        table.add_row(
            "rows stored of earlier dates",
            str(state.maintenance.get("rows_before_history", "-")),
        )
    add_figure(table, "requests to upstream", state.requests)
    table.add_row("seconds", run_seconds(state))
    console.print(table)
    if state.compared is not None:
        console.print(_compared(state.compared), markup=False, soft_wrap=True)
    if state.open_trades is not None:
        console.print(open_trades_sentence(state.open_trades), markup=False, soft_wrap=True)
    if state.error:
        console.print(state.error, markup=False, soft_wrap=True)


def _ended(state: RunState) -> str:
    accounts = state.accounts
    outcomes = [
        f"{number} {name.replace('_', ' ')}" for name, number in _outcomes(accounts) if number
    ]
    split = f" ({', '.join(outcomes)})" if outcomes else ""
    told = f"{counted(accounts.done, 'account')} done{split}"
    left = f", {accounts.waiting} left" if accounts.waiting else ""
    return (
        f"Run {state.run_id} ({state.kind}): {state.status}, with {told}{left},"
        f" {counted(state.rows.written, 'row')} written and {counted(state.requests, 'request')}."
    )


def _outcomes(accounts: RunAccounts) -> list[tuple[str, int]]:
    return [
        (name, number)
        for name, number in msgspec.structs.asdict(accounts).items()
        if name not in {"total", "skipped", "waiting", "postponed", "done"}
    ]


def _compared(compared: ComparedRows) -> str:
    tables = ", ".join(f"{table.table} {table.rows} x {table.columns}" for table in compared.tables)
    differing = compared.differing
    return (
        f"Compared row by row: {counted(compared.rows, 'row')} ({tables} columns);"
        f" {counted(differing, 'row')} differed before the run wrote anything."
    )


def open_trades_sentence(opened: OpenTradesCompared) -> str:
    """Open trades in a sentence."""
    if opened.error:
        return f"Open trades were not compared with upstream's snapshot: {opened.error}"
    told = (
        f"Open trades: {opened.upstream} in upstream's snapshot, {opened.stored} stored of"
        " its dates"
    )
    days = [f"{day.date} ({day.upstream} and {day.stored})" for day in opened.dates[:_DAYS_SHOWN]]
    more = opened.dates_that_differ - len(days)
    shown = f"{'; different on ' if days else ''}{', '.join(days)}"
    return f"{told}{shown}{f' and {more} more' if more else ''}"


def run_seconds(state: RunState | ListedRun) -> str:
    """Seconds from start to end."""
    if state.started_at is None or state.finished_at is None:
        return "-"
    return f"{(state.finished_at - state.started_at).total_seconds():.1f}"
