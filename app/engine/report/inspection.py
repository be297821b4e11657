"""What an inspection found, as JSON shows it: by issue, table, broker, date and account.

Nothing here asks upstream.
"""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.runs.emptiness import NOBODY_KNOWN
from app.domain.runs.inspected import InspectionFigures
from app.domain.states import Outcome, RunKind, RunStatus
from app.domain.wording.counts import choose, counted
from app.engine.report.views import Readings
from app.engine.repositories import Repositories
from app.errors import NotFound
from app.store.detect.inspections import shown

_DATES_SHOWN = 2_000
_UNREAD_SHOWN = 100
_UNMATCHED_SHOWN = 20
MOST_LISTED = 10_000
"""The most accounts that are listed at once."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Which accounts are listed: at most `limit` behind `after`."""

    limit: int
    after: str | None = None


async def inspection(
    store: Repositories, readings: Readings, run_id: uuid.UUID, listing: Listing
) -> Mapping[str, Any]:
    """What the run found so far.

    Raises NotFound if there is no such run, or if it is no inspection.
    """
    state: Mapping[str, Any] = await readings.run_state(run_id)
    if state["kind"] != RunKind.INSPECT:
        raise NotFound(
            f"Run {run_id} is no inspection but of kind {state['kind']}: GET /runs/{run_id}/result"
            " tells what it did."
        )
    figures = await store.inspections.figures(run_id)
    found = await store.inspections.accounts(
        run_id, (Outcome.FOUND, Outcome.EXPLAINED), listing.after, listing.limit + 1
    )
    unread = await store.inspections.accounts(run_id, (Outcome.FAILED,), None, _UNREAD_SHOWN)
    accounts = _accounts(state)
    of_all = state["request"].get("account_ids") is None
    findings, unmatched, ambiguous = (
        await store.identity.unresolved(_UNMATCHED_SHOWN) if of_all else ([], 0, 0)
    )
    identity = {
        "unmatched": unmatched,
        "ambiguous": ambiguous,
        "sample": [finding.shown() for finding in findings],
    }
    answer: dict[str, Any] = {
        **{
            name: state[name]
            for name in ("run_id", "status", "created_at", "finished_at", "history_from", "error")
        },
        "accounts": accounts,
        **_breakdowns(figures, accounts["total"]),
        "identity": identity,
        "not_inspected": [
            {"account_id": each.account_id, "reason": each.detail} for each in unread
        ],
        "listed": shown(found[: listing.limit]),
        "next_after": (
            found[listing.limit - 1].account_id if 0 < listing.limit < len(found) else None
        ),
    }
    return {**answer, "message": sentence(answer)}


def is_clean(answer: Mapping[str, Any]) -> bool:
    """Whether an inspection that is over looked at everything, and found nothing on which somebody
    must act.
    """
    accounts = answer["accounts"]
    return bool(
        answer["status"] == RunStatus.SUCCEEDED
        and accounts["known"]
        and not accounts["not_inspected"]
    )


def sentence(answer: Mapping[str, Any]) -> str:
    """What an inspection came to, in a sentence or two."""
    accounts = answer["accounts"]
    if not RunStatus(answer["status"]).is_end:
        return (
            f"The inspection is {answer['status']}: {accounts['inspected']} of"
            f" {counted(accounts['total'], 'account')} so far."
        )
    if answer["status"] in (RunStatus.FAILED, RunStatus.CANCELLED):
        return (
            f"The inspection is {answer['status']}; {counted(accounts['inspected'], 'account')}"
            " came before that."
        )
    if accounts["known"] == 0:
        return NOBODY_KNOWN
    found, explained = accounts["found"], accounts["explained"]
    said = (
        f"{counted(accounts['inspected'], 'account')} inspected: {found}"
        f" {choose(found, 'has', 'have')} issues"
    )
    if explained:
        said += (
            f", {explained} {choose(explained, 'has', 'have')} only what is for information or"
            " known not to be the warehouse's to heal"
        )
    said += f", {accounts['unchanged']} {choose(accounts['unchanged'], 'agrees', 'agree')}"
    if accounts["not_inspected"]:
        said += (
            f"; {accounts['not_inspected']} {choose(accounts['not_inspected'], 'was', 'were')} not"
            " inspected"
        )
    return f"{said}. Nothing was healed, and upstream was not asked.{_nights(answer)}"


def _nights(answer: Mapping[str, Any]) -> str:
    """The date on which most accounts differ, where these are many, and those that lack trades of
    which no table tells the date.
    """
    accounts, beyond = answer["accounts"], answer["beyond_dates"]["accounts"]
    if not accounts["found"]:
        return ""
    # The newest of several, as the table lists them.
    worst = max(answer["by_date"], key=lambda day: (day["accounts"], day["date"]), default=None)
    lacking = max(
        answer["lacking_dates"], key=lambda day: (day["accounts"], day["date"]), default=None
    )
    said = ""
    if worst is not None and worst["accounts"] > max(1, beyond):
        most = 2 * worst["accounts"] > accounts["found"] + accounts["explained"]
        tables = [
            *(_short(each) for each in worst["short"]),
            *(_more(each) for each in worst["more"]),
        ]
        short = f": {', '.join(tables)}" if tables else ""
        told = (
            f"Most of them differ on {worst['date']}"
            if most
            else f"The date on which most accounts differ is {worst['date']}"
        )
        said += f" {told}, at {_share(worst, answer)}{short}."
    if lacking is not None:
        said += (
            f" {lacking['date']} seems to be missing in all tables at {_share(lacking, answer)},"
            " whose alltime counts more."
        )
    elif beyond:
        said += (
            f" {counted(beyond, 'account')} {choose(beyond, 'counts', 'count')} more trades in"
            " alltime than in any other table: of which dates, the warehouse does not tell."
        )
    return said


def _short(short: Mapping[str, Any]) -> str:
    return (
        f"{short['table']} is short of {counted(short['trades'], 'trade')} at {short['accounts']}"
    )


def _more(more: Mapping[str, Any]) -> str:
    return (
        f"{more['table']} has {counted(more['trades'], 'trade')} more than the others at"
        f" {more['accounts']}"
    )


def _share(day: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    return (
        f"{day['accounts']} of {counted(answer['accounts']['total'], 'account')}"
        f" ({day['share']:.0%})"
    )


def _accounts(state: Mapping[str, Any]) -> dict[str, Any]:
    accounts = state["accounts"]
    return {
        "known": state["known_accounts"],
        "total": accounts["total"],
        "inspected": accounts["found"] + accounts["explained"] + accounts["unchanged"],
        "found": accounts["found"],
        "explained": accounts["explained"],
        "unchanged": accounts["unchanged"],
        "not_inspected": (
            accounts["failed"] + accounts["gone"] + accounts["waiting"] + accounts["skipped"]
        ),
    }


def _breakdowns(figures: InspectionFigures, total: int) -> dict[str, Any]:
    def of_all(accounts: int) -> dict[str, Any]:
        return {"accounts": accounts, "share": round(accounts / total, 4) if total else 0.0}

    issues = sorted(
        figures.issues.items(), key=lambda each: (each[0][1], -each[1]["accounts"], each[0][0])
    )
    dates = sorted(figures.dates.keys() | figures.short.keys() | figures.more.keys(), reverse=True)[
        :_DATES_SHOWN
    ]
    return {
        "by_issue": [
            {
                "issue": issue,
                "severity": severity,
                **of_all(known["accounts"]),
                "sample": known["sample"],
            }
            for (issue, severity), known in issues
        ],
        "by_table": [
            {"table": table, "issue": issue, **of_all(accounts)}
            for table, issue, accounts in sorted(
                (
                    (table, issue, accounts)
                    for issue, tables in figures.tables.items()
                    for table, accounts in tables.items()
                ),
                key=lambda each: (each[0], -each[2], each[1]),
            )
        ],
        "by_broker": [
            {"broker": broker, **of_all(accounts)} for broker, accounts in _largest(figures.brokers)
        ],
        "by_date": [
            {
                "date": dt.date.fromisoformat(day),
                **of_all(figures.dates[day]),
                "short": _by_table(figures.short, day),
                "more": _by_table(figures.more, day),
            }
            for day in dates
        ],
        "beyond_dates": of_all(figures.short_accounts),
        "lacking_dates": [
            {"date": dt.date.fromisoformat(day), **of_all(accounts)}
            for day, accounts in sorted(figures.lacking.items(), reverse=True)
        ],
    }


def _by_table(
    figures: Mapping[str, Mapping[str, Mapping[str, int]]], day: str
) -> list[dict[str, Any]]:
    tables = sorted(figures.get(day, {}).items())
    return [
        {"table": table, "accounts": counts["accounts"], "trades": counts["trades"]}
        for table, counts in tables
    ]


def _largest(counts: Mapping[str, int]) -> Sequence[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))
