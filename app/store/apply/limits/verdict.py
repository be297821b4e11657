"""What a transaction takes from accounts."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.accounts.hold import Hold
from app.domain.holds.account_holds import HoldFigures, Sent, exceeding, lowering
from app.domain.holds.run_guard import Loss
from app.store.apply.context import Standing
from app.store.apply.job import ApplyJob
from app.store.apply.results import Applied

_UNKNOWN = Standing()


@dataclass(slots=True)
class Verdict:
    """Changed accounts, their losses and their holds."""

    job: ApplyJob
    changed: Mapping[str, Applied]
    left: dict[str, int] = field(default_factory=dict)
    """Trades in the table after the write, by account."""
    lowered: set[str] = field(default_factory=set)
    """Accounts of which upstream counts less."""
    damage: dict[str, set[dt.date | None]] = field(default_factory=dict)
    """Dates on which only this table counted more: damage, not loss."""
    holds: dict[str, Hold] = field(default_factory=dict)
    rewritten: set[str] = field(default_factory=set)
    """Accounts with too many changed rows."""
    sent: dict[str, Sent] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """Name of the written table."""
        return self.job.table.table.name

    @property
    def losing(self) -> list[str]:
        """Accounts losing rows or alltime trades."""
        return [
            account_id
            for account_id, done in self.changed.items()
            if done.lost or done.falls_to is not None
        ]

    def standing(self, account_id: str) -> Standing:
        """The account before the write."""
        return self.job.context.standing.get(account_id, _UNKNOWN)

    def stored(self, account_id: str) -> int:
        """Trades at the run's start."""
        return self.standing(account_id).totals.counts.get(self.table, 0)

    def figures(self, account_id: str) -> HoldFigures:
        """Figures for a hold."""
        done = self.changed[account_id]
        sent = self.sent.get(account_id, Sent(on=self.on))
        return HoldFigures(
            self.table, self.stored(account_id), self.left[account_id], done.lost, done.blanks, sent
        )

    @property
    def on(self) -> str:
        """The dates read, ending a sentence."""
        dates = self.job.proven.dates
        if dates is None:
            return ""
        if self.job.proven.endpoint.is_trades:
            return f" from {dates[0]} to {dates[-1]}"
        return (
            f" of {dates[0]}" if len(dates) == 1 else f" of the {len(dates)} dates that were read"
        )

    def is_confirmed(self, account_id: str) -> bool:
        """Whether confirmed in this run."""
        confirmed = self.standing(account_id).confirmed
        return confirmed is not None and confirmed.trades is not None

    def exceeds(self, account_id: str) -> bool:
        """Whether more is lost than was confirmed."""
        confirmed, done = self.standing(account_id).confirmed, self.changed[account_id]
        if confirmed is None or confirmed.trades is None or not done.lost:
            return False
        return self.left[account_id] < confirmed.least(self.stored(account_id)) or (
            done.blanks and not confirmed.blanks
        )

    def is_still_lowered(self, account_id: str) -> bool:
        """Whether held, unconfirmed and still losing."""
        return (
            not self.is_confirmed(account_id)
            and self.standing(account_id).was_held
            and bool(account_id in self.lowered or self.loses(account_id))
        )

    def losses(self) -> dict[str, Loss]:
        """New losses, neither held nor confirmed."""
        return {
            account_id: Loss(self.loses(account_id), account_id in self.lowered)
            for account_id, done in self.changed.items()
            if (done.lost or account_id in self.lowered)
            and account_id not in self.holds
            and not self.standing(account_id).was_held
            and not self.is_confirmed(account_id)
        }

    def loses(self, account_id: str) -> int:
        """Rows lost, excluding damage."""
        done, days = self.changed[account_id], self.damage.get(account_id, set())
        repaired = sum(rows for day, rows in done.fallen.items() if day in days) + (
            done.shifted if done.shifted_days <= days else 0
        )
        return done.lost - repaired

    def doubted(self, account_id: str, done: Applied) -> set[dt.date | None]:
        """Dates with losses or empty rows."""
        repaired = set() if done.blanks else self.damage.get(account_id, set())
        return done.empty_days | (
            (done.lost_days | done.fallen.keys() | done.shifted_days) - repaired
        )

    def hold_lowered(self, account_ids: Sequence[str]) -> None:
        """Hold these accounts, as upstream is suspect."""
        self.holds |= {
            account_id: lowering(self.figures(account_id), self.job.context.run_id)
            for account_id in account_ids
        }

    def hold_exceeding(self, account_ids: Sequence[str]) -> None:
        """Hold for exceeding a confirmation."""
        for account_id in account_ids:
            confirmed = self.standing(account_id).confirmed
            if confirmed is not None:
                self.holds[account_id] = exceeding(
                    self.figures(account_id), confirmed, self.job.context.run_id
                )

    def news(self) -> dict[str, Loss]:
        """Newly held accounts."""
        return {
            account_id: Loss(lowers=True, rewrites=account_id in self.rewritten - self.lowered)
            for account_id in self.holds
            if not self.standing(account_id).was_held
        }
