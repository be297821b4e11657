"""Safety limits: changes too large to apply without confirmation."""

from dataclasses import dataclass

from app.domain.wording.counts import choose, counted

FLAPS = 3
"""Reopenings after a repair that hold."""


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """What may be repaired without confirmation.

    An account is held if more than `row_share` of its rows, and at least `rows`, would change. A
    run stops if upstream lowers more than `account_share` of the compared accounts, and at least
    `accounts`, or if more than `run_row_share` of the compared rows, and at least `run_rows`, would
    be lost.
    """

    row_share: float = 0.2
    rows: int = 500
    account_share: float = 0.05
    accounts: int = 5
    run_rows: int = 500
    run_row_share: float = 0.2

    def is_too_much(self, rewritten: int, stored: int) -> bool:
        """Whether rewriting this many of an account's `stored` rows holds it."""
        return rewritten >= self.rows and rewritten > self.row_share * stored

    def suspects(self, lowered: int, compared: int) -> bool:
        """Whether lowered accounts make upstream suspect."""
        return lowered >= self.accounts and lowered > self.account_share * compared

    def suspects_rows(self, lost: int, compared: int) -> bool:
        """Whether `lost` rows make upstream suspect."""
        return lost >= self.run_rows and lost > self.run_row_share * compared

    def suspicion(self, lowered: int, compared: int, rewritten: int | None = None) -> str:
        """Why accounts make upstream suspect, `rewritten` ones separately."""
        among = f"{lowered} of the {counted(compared, 'account')} compared so far"
        lower = "lower figures there, empty ones or none at all"
        share = f"more than {self.row_share:.0%} of"
        match rewritten:
            case None:
                its = choose(lowered, "its", "their")
                what = (
                    f"{among} {choose(lowered, 'has', 'have')} {lower}, or would have {share} {its}"
                    " rows rewritten"
                )
            case 0:
                what = f"{among} {choose(lowered, 'has', 'have')} {lower}"
            case _ if rewritten >= lowered:
                what = (
                    f"{among} would have {share} {choose(lowered, 'its', 'their')} rows rewritten,"
                    " while upstream lowers none of their figures: it may be the warehouse that"
                    " was damaged"
                )
            case _:
                fewer = lowered - rewritten
                what = (
                    f"of the {counted(compared, 'account')} compared so far {fewer}"
                    f" {choose(fewer, 'has', 'have')} {lower}, and {rewritten} would have {share}"
                    f" {choose(rewritten, 'its', 'their')} rows rewritten"
                )
        return _suspicion(
            f"{what}; allowed are {self.account_share:.0%}, or fewer than {self.accounts}, and"
            " accounts that were written before count as well"
        )

    def suspicion_of_keys(self, rekeyed: int, compared: int) -> str:
        """Why natural keys make upstream suspect."""
        return _suspicion(
            f"{rekeyed} of the {counted(compared, 'account')} compared"
            f" {choose(rekeyed, 'has', 'have')} another login, platform or broker there than here,"
            f" and all {choose(rekeyed, 'its', 'their')} rows would be rewritten; allowed are"
            f" {self.account_share:.0%}, or fewer than {self.accounts}"
        )

    def suspicion_of_rows(self, lost: int, compared: int) -> str:
        """Why lost rows make upstream suspect."""
        return _suspicion(
            f"healing would remove, lower or blank {lost} of the {counted(compared, 'row')}"
            f" compared so far; allowed are {self.run_row_share:.0%}, or fewer than {self.run_rows}"
        )


def _suspicion(why: str) -> str:
    return (
        f"Upstream is suspect: {why}. Accounts that would lose something were held and not written."
        " Compare them with upstream: confirming the run writes what it held, a new run compares"
        " again."
    )
