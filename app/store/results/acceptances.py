"""Accepted issues, kept until their figures change or their date comes.

Accepting and recording lock the same row of trade_recon.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from app.domain.accounts.view import AcceptedIssue
from app.domain.ids import AccountId
from app.domain.issues.acceptance import figures_of, how_it_ended
from app.domain.issues.codes import Issue, IssueCode
from app.domain.states import Outcome
from app.errors import NotFound, NotOpen
from app.store.database.pool import Database
from app.store.database.transaction import Connection, Record
from app.telemetry import get_logger

_log = get_logger(__name__)
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """A request to accept an issue until a date."""

    account_id: str
    code: IssueCode
    reason: str
    until: dt.date


class Acceptances:
    """The accepted issues."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries("results/acceptances")

    async def of(self, account_ids: Sequence[str]) -> dict[AccountId, dict[str, AcceptedIssue]]:
        """Acceptances by account and code, expired ones included."""
        return _by_account(await self._database.fetch(self._sql["get_accepted"], list(account_ids)))

    async def accept(self, wish: Wish) -> bool:
        """Accept an open issue; False if already accepted alike.

        Raises NotFound or NotOpen.
        """

        async def write(connection: Connection) -> bool:
            entries, status = await self._locked(connection, wish.account_id)
            entry = next((entry for entry in entries if entry.get("type") == wish.code), None)
            if entry is None:
                raise NotOpen(_not_open(wish.account_id, wish.code, entries))
            was_held = status == Outcome.NEEDS_CONFIRMATION
            if not await self._replace(connection, wish, entry, was_held=was_held):
                return False
            accepted = {
                row["type"]
                for row in await connection.fetch(self._sql["get_accepted"], [wish.account_id])
            }
            if {str(each.get("type")) for each in entries} <= accepted:
                await connection.execute(self._sql["rest_account"], wish.account_id)
            return True

        return await self._database.give_way(write)

    async def _replace(
        self, connection: Connection, wish: Wish, entry: Mapping[str, object], *, was_held: bool
    ) -> bool:
        known = await connection.fetch_row(
            self._sql["get_open_acceptance"], wish.account_id, wish.code
        )
        seen = await connection.fetch_value(self._sql["get_last_seen"], wish.account_id) or ""
        figures = figures_of(Issue.from_json(entry))
        if known is not None:
            was_held = was_held or known["was_held"]
            before = known["reason"], known["until"], known["figures"], known["seen"]
            if before == (wish.reason, wish.until, figures, seen):
                return False
            await connection.execute(
                self._sql["end_acceptance"], known["acceptance_id"], "replaced", None
            )
        values = wish.reason, wish.until, entry, figures, seen, was_held
        await connection.fetch_value(
            self._sql["add_acceptance"], wish.account_id, wish.code, *values
        )
        return True

    async def withdraw(self, account_id: str, code: IssueCode, reason: str | None) -> bool:
        """Withdraw an acceptance; False without one. Raises NotFound."""

        async def write(connection: Connection) -> bool:
            await self._locked(connection, account_id)
            known = await connection.fetch_row(self._sql["get_open_acceptance"], account_id, code)
            if known is None:
                return False
            await connection.execute(
                self._sql["end_acceptance"], known["acceptance_id"], "withdrawn", reason
            )
            await self.count_again(connection, {AccountId(account_id): known["was_held"]})
            return True

        return await self._database.give_way(write)

    async def listed(
        self, today: dt.date | None, account_id: str | None = None, limit: int = 1_000
    ) -> list[Record]:
        """Acceptances by end date (None: the server's today)."""
        return await self._database.fetch(self._sql["list_accepted"], today, account_id, limit)

    async def count(self, today: dt.date | None) -> int:
        """Number of accepted issues on a date."""
        return int(await self._database.fetch_value(self._sql["count_accepted_issues"], today))

    async def settle(
        self,
        connection: Connection,
        left: Mapping[AccountId, Sequence[Issue]],
        judged: Collection[str],
        *,
        today: dt.date | None = None,
        seen: Mapping[AccountId, str] | None = None,
    ) -> dict[AccountId, bool]:
        """End acceptances that no longer hold; the accounts' rows are locked.

        `seen` digests the disagreement. Returns whether accounts with a reopened issue were held.
        """
        rows = await connection.fetch(self._sql["get_accepted"], list(left))
        known = _by_account(rows)
        ended = [
            {"account_id": account_id, "type": code, "ended_as": ended_as}
            for account_id, by_code in known.items()
            for code, accepted in by_code.items()
            if (ended_as := how_it_ended(accepted, left[account_id], judged, today)) is not None
        ]
        await self._renew(connection, rows, seen or {})
        if ended:
            await connection.execute(self._sql["end_acceptances"], ended)
            _log.info(
                "Acceptances ended: their issues changed, closed or reached their date.",
                action="accepted.ended",
                issues=len(ended),
                sample=ended[:_NAMED],
            )
        open_again = {
            AccountId(each["account_id"]) for each in ended if each["ended_as"] != "closed"
        }
        return {
            account_id: any(each.was_held for each in known[account_id].values())
            for account_id in open_again
        }

    async def count_again(self, connection: Connection, was_held: Mapping[AccountId, bool]) -> None:
        """Return accounts to waiting, or to held."""
        if was_held:
            accounts = [
                {"account_id": account_id, "was_held": held}
                for account_id, held in was_held.items()
            ]
            await connection.execute(self._sql["count_again"], accounts)

    async def _renew(
        self, connection: Connection, rows: Sequence[Record], seen: Mapping[AccountId, str]
    ) -> None:
        changed = {
            row["account_id"]: seen[row["account_id"]]
            for row in rows
            if row["seen"] != seen.get(row["account_id"], row["seen"])
        }
        if changed:
            await connection.execute(self._sql["renew_seen"], changed)

    async def _locked(
        self, connection: Connection, account_id: str
    ) -> tuple[list[Mapping[str, object]], str]:
        row = await connection.fetch_row(self._sql["lock_account"], account_id)
        if row is None:
            raise NotFound(f"There is no account {account_id!r}. Nothing was changed.")
        issues = row["issues"] if isinstance(row["issues"], list) else []
        return [entry for entry in issues if isinstance(entry, dict)], str(
            row["reconciliation_status"]
        )


def _by_account(rows: Sequence[Record]) -> dict[AccountId, dict[str, AcceptedIssue]]:
    found: defaultdict[AccountId, dict[str, AcceptedIssue]] = defaultdict(dict)
    for row in rows:
        found[row["account_id"]][row["type"]] = AcceptedIssue(
            row["account_id"],
            row["type"],
            row["until"],
            row["figures"],
            row["seen"],
            row["was_held"],
        )
    return dict(found)


def _not_open(account_id: str, code: IssueCode, entries: Sequence[Mapping[str, object]]) -> str:
    others = sorted({str(entry.get("type")) for entry in entries})
    has = f"open are {', '.join(others[:_NAMED])}" if others else "none of its issues is open"
    hint = (
        " That one is for information, and holds nothing back."
        if code is IssueCode.SUSPICIOUSLY_FEW_HOURS
        else ""
    )
    return (
        f"The account {account_id!r} has no open issue {code.value}: {has}.{hint} Nothing was"
        " accepted."
    )
