"""The run guard: when losses over all accounts stop a run."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from app.domain.holds.limits import HoldLimits
from app.domain.ids import AccountId


def undoing(run_id: object) -> str:
    """How to undo a run."""
    return (
        f" `trade-recon removed restore --all-of-run {run_id}` brings back what the run removed,"
        " moved or overwrote; rows that it inserted stay."
    )


@dataclass(frozen=True, slots=True)
class Loss:
    """What a run takes from an account: lost rows, and whether its figures are lowered.

    One that `rewrites` counts as lowered for the number of its rewritten rows alone.
    """

    rows: int = 0
    lowers: bool = False
    rewrites: bool = False

    def __add__(self, other: "Loss") -> "Loss":
        """Both together."""
        lowers = self.lowers or other.lowers
        rewrites = all(each.rewrites for each in (self, other) if each.lowers)
        return Loss(self.rows + other.rows, lowers, lowers and rewrites)


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What is recorded of a run: compared accounts and rows, and losses in other processes.

    `stands`: an earlier run was stopped, and neither confirmed nor cleared by an audit.
    """

    accounts: int = 0
    rows: int = 0
    others_lowered: int = 0
    others_lost: int = 0
    stands: bool = False
    others_rewritten: int = 0


NO_LOSS = Loss()


@dataclass(slots=True)
class RunGuard:
    """Judges upstream for a process's batches of one run.

    `total` are the accounts that an audit's scan compared. Once `reason` is set the run stops and
    writes no account with losses.
    """

    limits: HoldLimits
    total: int | None = None
    undo: str = ""
    recorded: RunCounts = field(default_factory=RunCounts)
    losses: dict[str, Loss] = field(default_factory=dict)
    compared: dict[str, dict[Hashable, int]] = field(default_factory=dict)
    reason: str | None = None

    def note_compared(self, slices: Hashable, rows: Mapping[str, int]) -> None:
        """Count compared rows of the named slices."""
        for account_id, number in rows.items():
            self.compared.setdefault(account_id, {})[slices] = number

    def forget_compared(self, account_ids: Iterable[AccountId]) -> tuple[int, int]:
        """Requeued accounts; returns those compared and their rows."""
        left = [
            self.compared.pop(account_id)
            for account_id in account_ids
            if account_id in self.compared
        ]
        return len(left), sum(sum(slices.values()) for slices in left)

    def record_compared(self, account_ids: Iterable[AccountId]) -> int:
        """Accounts are recorded; returns their compared rows."""
        accounts, rows = self.forget_compared(account_ids)
        self.recorded = replace(
            self.recorded,
            accounts=self.recorded.accounts + accounts,
            rows=self.recorded.rows + rows,
        )
        return rows

    def judge(self, news: Mapping[str, Loss]) -> list[str]:
        """Which of these accounts may not be written."""
        after = {
            **self.losses,
            **{
                account_id: self.losses.get(account_id, NO_LOSS) + loss
                for account_id, loss in news.items()
            },
        }
        self._suspect(after)
        if self.reason is not None:
            return [account_id for account_id, loss in news.items() if loss.lowers or loss.rows]
        # An earlier run had to stop: until upstream is found well, the limits leave no room for
        # losses one by one.
        return [
            account_id for account_id, loss in news.items() if self.recorded.stands and loss.lowers
        ]

    def add(self, news: Mapping[str, Loss]) -> None:
        """Count losses being written."""
        for account_id, loss in news.items():
            self.losses[account_id] = self.losses.get(account_id, NO_LOSS) + loss

    def hold(self, news: Mapping[str, Loss]) -> None:
        """Count newly held accounts."""
        self.add(news)
        self._suspect(self.losses)

    def take_back(self, news: Mapping[str, Loss]) -> None:
        """Uncount losses not written after all."""
        for account_id, loss in news.items():
            left = self.losses[account_id].rows - loss.rows
            # Upstream lowers the account all the same: the next try will say so again.
            self.losses[account_id] = replace(self.losses[account_id], rows=left)

    def _suspect(self, losses: Mapping[str, Loss]) -> None:
        if self.reason is not None:
            return
        accounts = self.recorded.accounts + len(self.compared) if self.total is None else self.total
        lowered = self.recorded.others_lowered + sum(loss.lowers for loss in losses.values())
        if self.limits.suspects(lowered, accounts):
            rewritten = self.recorded.others_rewritten + sum(
                loss.lowers and loss.rewrites for loss in losses.values()
            )
            self.reason = self.limits.suspicion(lowered, accounts, rewritten) + self.undo
            return
        # An audit's scan compared a row of alltime of each account.
        rows = (
            self.recorded.rows
            + sum(sum(slices.values()) for slices in self.compared.values())
            + (self.total or 0)
        )
        lost = self.recorded.others_lost + sum(loss.rows for loss in losses.values())
        if self.limits.suspects_rows(lost, rows):
            self.reason = self.limits.suspicion_of_rows(lost, rows) + self.undo
