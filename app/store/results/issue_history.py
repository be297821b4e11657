"""When and why issues were opened and closed."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Iterator, Mapping, Sequence

from app.domain.ids import AccountId
from app.domain.issues.codes import Issue
from app.domain.sequences import pieces
from app.domain.verdict.closing import ClosedAs
from app.store.database.pool import Database
from app.store.database.transaction import Connection
from app.store.results.acceptances import Acceptances
from app.store.results.json_rows import ACCOUNTS_AT_ONCE, encoded_rows

_REOPENING = (172_800, 1_800)
"""Seconds in which reopening at the same place, or anywhere, flaps."""


class IssueHistory:
    """Opens and closes issues."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries("results/issue_history")
        self._acceptances = Acceptances(database)

    async def record_issues(
        self,
        found: Mapping[AccountId, Sequence[Issue]],
        judged: Sequence[str],
        *,
        note: str,
        closed_as: ClosedAs,
    ) -> None:
        """Replace open issues of judged codes outside a run."""
        entries = [
            {"account_id": account_id, "issues": [issue.as_json() for issue in issues]}
            for account_id, issues in found.items()
        ]

        async def write(connection: Connection) -> None:
            await self.close_and_open(
                connection, found, judged, None, {"closed_as": closed_as.value, "closed_by": note}
            )
            await connection.execute(self._sql["merge_issues"], entries, list(judged))
            # After the write, which locks the accounts' rows.
            await self._acceptances.count_again(
                connection, await self._acceptances.settle(connection, found, judged)
            )

        await self._database.give_way(write)

    async def open_issues(
        self,
        run_id: uuid.UUID | None,
        found: Mapping[AccountId, Sequence[Issue]],
        moving_from: dt.date,
    ) -> None:
        """Record issues before a repair; dates from `moving_from` are unsettled."""
        reopening = *_REOPENING, moving_from.isoformat()
        for piece in _pieces(found):
            entries = await asyncio.to_thread(encoded_rows, _history_entries(piece))
            await self._database.execute(self._sql["open_issues"], entries, run_id, *reopening)

    async def note_differing(
        self, run_id: uuid.UUID, found: Mapping[AccountId, Sequence[Issue]], moving_from: dt.date
    ) -> None:
        """Record a row comparison's findings before a repair."""
        await self.open_issues(run_id, found, moving_from)
        for piece in _pieces(found):
            entries = await asyncio.to_thread(encoded_rows, _history_entries(piece))
            await self._database.execute(self._sql["renew_evidence"], entries, run_id)

    async def reopened(self, account_ids: Sequence[str]) -> dict[AccountId, int]:
        """Most consecutive reopenings among an account's open issues."""
        rows = await self._database.fetch(self._sql["get_reopened"], list(account_ids))
        return {row["account_id"]: row["reopened"] for row in rows}

    async def close_and_open(
        self,
        connection: Connection,
        found: Mapping[AccountId, Sequence[Issue]],
        judged: Sequence[str],
        run_id: uuid.UUID | None,
        closing_others: Mapping[str, object],
        closing: Mapping[AccountId, object] | None = None,
    ) -> None:
        """Close absent issues of judged codes and open those found.

        `closing` holds evidence by account and code.
        """
        # In a thread: thousands of accounts would block the event loop.
        entries = await asyncio.to_thread(encoded_rows, _history_entries(found))
        told = dict(closing or {}), dict(closing_others)
        await connection.execute(
            self._sql["close_issues"], list(found), entries, list(judged), run_id, *told
        )
        # Issues that arise from a repair are new, not reopened: no date counts as settled.
        if any(found.values()):
            await connection.execute(
                self._sql["open_issues"], entries, run_id, 0, 0, dt.date.min.isoformat()
            )


def _pieces(
    found: Mapping[AccountId, Sequence[Issue]],
) -> Iterator[Mapping[AccountId, Sequence[Issue]]]:
    """Accounts with issues, in pieces of bounded JSON."""
    accounts = [account_id for account_id, issues in found.items() if issues]
    return (
        {account_id: found[account_id] for account_id in piece}
        for piece in pieces(accounts, ACCOUNTS_AT_ONCE)
    )


def _history_entries(found: Mapping[AccountId, Sequence[Issue]]) -> Iterator[dict[str, object]]:
    for account_id, issues in found.items():
        for issue in issues:
            yield {
                "account_id": account_id,
                "type": issue.code.value,
                "severity": int(issue.severity),
                "evidence": issue.as_json(),
            }
