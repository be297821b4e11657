"""Stored accounts, with what runs did to them."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.issues.codes import few_hours_issue
from app.domain.runs.grounds import LastLook
from app.errors import NotFound
from app.store.database.pool import Database
from app.store.database.transaction import SWEEP_SECONDS, Record
from app.store.results.acceptances import Acceptances

_ATTEMPTS = 10
_HISTORY = 50
_SET_ASIDE = 20
_PINS = 100


@dataclass(frozen=True, slots=True)
class AccountReport:
    """One account, with what runs recorded."""

    state: Record
    attempts: list[Record]
    history: list[Record]
    set_aside: list[Record]
    pins: list[Record]
    accepted: list[Record]

    @property
    def issues(self) -> list[object]:
        """Open issues, with those for information."""
        issues, few_hours = self.state["issues"], self.state["few_hours"]
        shown = list(issues) if isinstance(issues, list) else []
        return [*shown, few_hours_issue(few_hours).as_json()] if few_hours else shown

    @property
    def rests_on(self) -> str:
        """A sentence on its last comparison."""
        differs = self.state["mismatched_days"] or self.state["mismatched_money"]
        agrees = bool(self.state["trades_recon_checksum"]) and not differs and not self.issues
        if not self.attempts:
            return LastLook(self.state["last_checked"], agrees).sentence
        last = self.attempts[0]
        rows = (
            None
            if last["compared"] is None
            else sum(figures["rows"] for figures in last["compared"].values())
        )
        return LastLook(
            self.state["last_checked"],
            agrees,
            last["run_id"],
            last["kind"],
            last["outcome"],
            last["finished_at"],
            rows,
        ).sentence


class AccountReader:
    """Reads accounts; `today` None is the server's date."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries("report/account_reader")
        self._acceptances = Acceptances(database)

    async def account(self, account_id: str, today: dt.date | None = None) -> AccountReport:
        """One account, with acceptances on a date; or NotFound."""
        state = await self._database.fetch_row(self._sql["get_account"], account_id, today)
        if state is None:
            raise NotFound(f"There is no account {account_id!r}.")
        return AccountReport(
            state,
            await self._database.fetch(self._sql["get_attempts"], account_id, _ATTEMPTS),
            await self._database.fetch(self._sql["get_history"], account_id, _HISTORY),
            await self._database.fetch(self._sql["get_set_aside"], account_id, _SET_ASIDE),
            await self._database.fetch(self._sql["list_pins"], account_id, _PINS),
            await self._acceptances.listed(today, account_id, _HISTORY),
        )

    async def accounts(
        self,
        statuses: Sequence[str] | None,
        issue: str | None,
        after: str | None,
        limit: int,
        today: dt.date | None = None,
    ) -> list[Record]:
        """Accounts behind `after`, in these states on a date, with this open issue."""
        return await self._database.fetch(
            self._sql["list_accounts"], statuses, issue, after, limit, today, seconds=SWEEP_SECONDS
        )

    async def attempt(self, run_id: uuid.UUID, account_id: str) -> Record | None:
        """A run's attempt at an account, or None."""
        return await self._database.fetch_row(self._sql["get_attempt"], run_id, account_id)

    async def run_attempts(self, run_id: uuid.UUID) -> list[Record]:
        """A run's attempts, in its order."""
        return await self._database.fetch(
            self._sql["get_run_attempts"], run_id, seconds=SWEEP_SECONDS
        )

    async def checked_by_date(self) -> list[Record]:
        """Accounts checked on the last seven dates: `resolved`, `failed`."""
        return await self._database.fetch(self._sql["count_checked_by_date"], seconds=SWEEP_SECONDS)
