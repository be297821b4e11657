"""Accepts open issues until a date."""

import datetime as dt

from app.domain.issues.acceptance import last_date
from app.domain.issues.codes import IssueCode
from app.domain.runs.orders import required_reason
from app.engine.records import read
from app.engine.report.models.accounts import AcceptedIssue
from app.engine.repositories import Repositories
from app.errors import NotOpen
from app.store.results.acceptances import Wish


class Accepting:
    """Accepts issues and withdraws, noting reasons."""

    def __init__(self, store: Repositories, today: dt.date) -> None:
        self._store = store
        self._today = today

    async def accept(
        self, account_id: str, code: IssueCode, reason: str, until: dt.date | None = None
    ) -> AcceptedIssue:
        """Accept an open issue as it stands.

        Raises NotFound, NotOpen, or InvalidRequest (reason, date).
        """
        wish_for, ends = required_reason(reason), last_date(until, self._today)
        if await self._store.acceptances.accept(Wish(account_id, code, wish_for, ends)):
            await self._store.orders.note(
                "accept",
                None,
                wish_for,
                account_id=account_id,
                issue=code.value,
                until=ends.isoformat(),
            )
        listed = await self._store.acceptances.listed(self._today, account_id)
        shown = [row for row in (read(AcceptedIssue, row) for row in listed) if row.issue == code]
        if not shown:
            raise NotOpen(
                f"The issue {code.value} of {account_id!r} was closed at this moment: there is"
                " nothing left to accept."
            )
        return shown[0]

    async def withdraw(self, account_id: str, code: IssueCode, reason: str | None = None) -> bool:
        """Withdraw an acceptance; False without one.

        Raises NotFound.
        """
        is_new = await self._store.acceptances.withdraw(account_id, code, reason)
        if is_new:
            await self._store.orders.note(
                "unaccept", None, reason, account_id=account_id, issue=code.value
            )
        return is_new
