"""Prints the report."""

import datetime as dt
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from app.cli.output.issues import issues_table, natural_key
from app.cli.output.runs import open_trades_sentence
from app.cli.output.tables import add_figure, plain_table
from app.domain.wording.counts import choose, counted
from app.engine.report.models.report import (
    AcceptedFigures,
    EndedRun,
    MoneyRelation,
    Report,
    UnresolvedKeys,
)

_HOLDING_SHOWN = 10


def show_report(console: Console, report: Report) -> None:
    """Print the report."""
    console.print(_standing(report), markup=False, soft_wrap=True)
    console.print(_figures(report))
    console.print()
    if report.issues_by_type:
        console.print(issues_table("Open issues", report.issues_by_type))
        console.print()
    if report.history_from is not None:
        console.print(
            f"Compared from: {report.history_from}, by RECON_HISTORY_FROM; rows of earlier dates"
            " are left alone."
        )
    _print_unused(console, report.money_relations)
    _show_through(console, report)
    _show_accepted(console, report.accepted)
    activity = report.recent_activity
    console.print(
        f"Last seven days: {counted(activity.accounts_checked, 'check')} of accounts (each"
        f" counts once for each run that took it): {activity.resolved} resolved,"
        f" {activity.failed} failed"
    )
    _show_identity(console, report.identity)
    if report.open_trades is not None:
        console.print(open_trades_sentence(report.open_trades), markup=False, soft_wrap=True)
    last, holding = report.last_run, report.holding_run
    _show_last_run(console, last, report.message)
    if holding is not None and (last is None or holding.run_id != last.run_id):
        console.print(
            f"Accounts are held by: {holding.kind} {holding.run_id}, {holding.status},"
            f" ended {_utc(holding.finished_at)}"
        )
        console.print(f"  {holding.error}", markup=False, soft_wrap=True)


def _figures(report: Report) -> Table:
    overall = report.overall
    percentage = overall.reconciliation_percentage
    figures = plain_table("Accounts", "", "#")
    figures.add_row("all", str(overall.total_accounts))
    figures.add_row(
        "reconciled",
        f"{overall.reconciled}" + ("" if percentage is None else f" ({percentage} %)"),
    )
    add_figure(figures, "need reconciliation", overall.needs_reconciliation)
    add_figure(figures, "with issues", overall.has_issues)
    add_figure(figures, "disagree, issue not recorded yet", report.disagree_without_issue)
    add_figure(figures, "with failures", overall.has_failures)
    for status, accounts in report.accounts_by_status.items():
        add_figure(figures, f"status {status}", accounts)
    return figures


def _show_identity(console: Console, identity: UnresolvedKeys) -> None:
    if identity.unmatched or identity.ambiguous:
        console.print(
            f"Natural keys without an account: {identity.unmatched}, that fit several:"
            f" {identity.ambiguous}"
        )
    for key in identity.sample:
        console.print(f"  {natural_key(key)}", markup=False, soft_wrap=True)


def _utc(moment: dt.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _print_unused(console: Console, relations: Sequence[MoneyRelation]) -> None:
    unused: dict[str, list[str]] = {}
    for relation in relations:
        if not relation.is_used:
            unused.setdefault(relation.reason, []).append(relation.relation)
    for reason, names in unused.items():
        told = "all of them" if len(names) == len(relations) else ", ".join(names)
        console.print(
            f"Amounts not compared: {told}, since {reason}.", markup=False, soft_wrap=True
        )


def _show_through(console: Console, report: Report) -> None:
    """Print the reconciled date, and the accounts that hold it back."""
    told, reason = (
        report.reconciled_through_told.removeprefix("through "),
        report.reconciled_through_reason,
    )
    # Where no account is known the first sentence said so.
    why = "" if reason == report.message else f" {reason}"
    console.print(f"Reconciled through: {told}.{why}", markup=False, soft_wrap=True)
    console.print(report.audited, markup=False, soft_wrap=True)
    rows, accounts = report.held_back_by, report.holding_accounts
    for row in rows[:_HOLDING_SHOWN]:
        since = f"from {row.first_date} on" if row.first_date else "no date is known"
        console.print(
            f"  held back by {row.account_id}: {row.issue or 'not checked yet'}, {since}",
            markup=False,
            soft_wrap=True,
        )
    if accounts > _HOLDING_SHOWN:
        console.print(
            f"  and {accounts - _HOLDING_SHOWN} more: `trade-recon accounts list --issue CODE`",
            soft_wrap=True,
        )


def _show_accepted(console: Console, accepted: AcceptedFigures | None) -> None:
    if accepted is None:
        return
    codes = ", ".join(f"{code} {accounts}" for code, accounts in sorted(accepted.by_issue.items()))
    told = (
        f"Accepted: {counted(accepted.issues, 'issue')} of"
        f" {counted(accepted.accounts, 'account')} ({codes}), the first until"
    )
    console.print(
        f"{told} {accepted.first_until}: `trade-recon accept --list`",
        markup=False,
        soft_wrap=True,
    )


def _show_last_run(console: Console, last: EndedRun | None, said: str | None) -> None:
    """Print the last run, without what was `said` already."""
    if last is None:
        return
    console.print(
        f"Last run: {last.kind} {last.run_id}, {last.status},"
        f" {counted(last.requests, 'request')}, ended {_utc(last.finished_at)}"
    )
    for told in (last.left_told, last.error):
        if told and told != said:
            console.print(f"  {told}", markup=False, soft_wrap=True)


def _standing(report: Report) -> str:
    overall, through = report.overall, report.reconciled_through
    if not overall.total_accounts:
        return str(report.message)
    held, has_issues = (
        report.accounts_by_status.get("needs_confirmation", 0),
        overall.has_issues,
    )
    reconciled = f"{overall.reconciled} of {counted(overall.total_accounts, 'account')}"
    waiting = (
        f", {counted(held, 'account')} {choose(held, 'waits', 'wait')} for confirmation"
        if held
        else ""
    )
    told = report.reconciled_through_told
    date = (
        f"all is reconciled {told}" if through else f"through which date all is reconciled {told}"
    )
    rests_on = f" {report.message}" if report.message else ""
    return (
        f"{reconciled} {choose(overall.reconciled, 'is', 'are')} reconciled, {has_issues}"
        f" {choose(has_issues, 'has', 'have')} open issues{waiting}; {date}.{rests_on}"
    )
