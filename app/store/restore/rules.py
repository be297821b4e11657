"""The rules by which a copy is brought back, and what is said of it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.domain.copies import Reason
from app.errors import ReconError, RowRefused, WriteConflict
from app.store.database.errors import UNIQUE_VIOLATION
from app.store.database.transaction import Record
from app.store.restore.copies import RemovedRow, Restored, listed, refusal, told_of

TRIES = 3
_CHECK_VIOLATION = "23514"


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is to be changed, and why."""

    why: str


Deed = Literal["insert", "nothing"] | Record | Refused
"""What is to be done: a row of `lock_present_rows` gets the copy's values."""


def decide(copy: RemovedRow, present: Sequence[Record]) -> Deed:
    """What is right for a copy, given the rows that stand for it now: of its key, and of the same
    trade on other dates.
    """
    here = [row for row in present if row["has_key"]]
    elsewhere = [row for row in present if not row["has_key"]]
    if here:
        return _decide_here(copy.reason, here)
    return _decide_elsewhere(copy, elsewhere) if elsewhere else "insert"


def _decide_here(reason: Reason, here: Sequence[Record]) -> Deed:
    if here[0]["is_elsewhere"]:
        return Refused(
            f"its row stands under {here[0]['row_shard']} now, by which the table is distributed,"
            " and cannot go back from there"
        )
    if len(here) == 1 and here[0]["is_equal"]:
        return "nothing"
    if reason is not Reason.OVERWRITTEN:
        return Refused("another row has its key now, and stays as it is")
    if len(here) > 1:
        return Refused(f"{len(here)} rows have its key now, and nothing tells which of them it was")
    return _unless_foreign(here[0])


def _decide_elsewhere(copy: RemovedRow, elsewhere: Sequence[Record]) -> Deed:
    # What stood beside the copy's row, or was brought back beside it, is not what became of it.
    became = [row for row in elsewhere if not row["stood_there"] and row["beside_as"] is None]
    if copy.right_date is not None or (
        copy.reason in {Reason.MOVED, Reason.REMOVED} and not became
    ):
        # The trade was stored twice before the run, and so it is again.
        return "insert"
    dates = listed(list(dict.fromkeys(str(row["day"]) for row in elsewhere)))
    if copy.reason is not Reason.MOVED:
        return Refused(
            f"the same trade stands under {dates} now and would be stored twice; restore the copies"
            " of its moves first"
        )
    if len(became) > 1:
        return Refused(
            f"the same trade is stored {len(elsewhere)} times under other dates ({dates}), and"
            " nothing tells which it became"
        )
    return _unless_foreign(became[0])


def _unless_foreign(row: Record) -> Deed:
    """The row, unless somebody else wrote it since the copy was kept: what that says is newer than
    the copy.
    """
    if row["is_foreign"]:
        return Refused(
            "somebody wrote the row after trade-recon did, and what it holds now stays as it is"
        )
    return row


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: its account (None: a trade without an id), and its date (None: rows of
    alltime).
    """

    account_id: str | None
    day: dt.date | None


def changed_slices(copy: RemovedRow, *places: Place) -> dict[str, set[dt.date | None]]:
    """The slices that changed, as the feed takes them: those in which the row stands now, and stood
    before.
    """
    changed: dict[str, set[dt.date | None]] = {}
    for place in places:
        # A trade without an account id belongs to the account for which the copy was kept.
        account_id = place.account_id or copy.account_id
        if account_id is not None:
            changed.setdefault(account_id, set()).add(place.day)
    return changed


def explained(error: ReconError) -> str:
    """Why PostgreSQL did not take the row, as the end of a sentence."""
    if (
        isinstance(error, RowRefused)
        and error.sqlstate == UNIQUE_VIOLATION
        and error.relation
        and not error.is_raised
    ):
        return (
            f"another row has its place in the unique key {error.constraint} of {error.relation[1]}"
            " now, and stays as it is"
        )
    if (
        isinstance(error, RowRefused)
        and error.sqlstate == _CHECK_VIOLATION
        and error.constraint is None
    ):
        return (
            "no partition of the table takes its date; let the table's owner make one, and restore"
            " it again"
        )
    # Its first line alone: PostgreSQL quotes whole rows below it.
    said = str(error).partition("\n")[0].removesuffix(".")
    return (
        f"others were writing it each of {TRIES} times; restore it again ({said})"
        if isinstance(error, WriteConflict)
        else said
    )


def just_so(copy: RemovedRow) -> Restored:
    """What is told of a copy whose row stands as it is."""
    return told_of(copy, f"{copy.name} is stored just so already; nothing was changed.")


def stored_again(copy: RemovedRow, present: Sequence[Record]) -> str:
    """The sentence of a copy whose row was inserted; `present` stand for the same trade under other
    dates.
    """
    also = (
        f" The trade stands under {listed([str(row['day']) for row in present])}, too."
        if present
        else ""
    )
    return f"{copy.name} is stored again.{also}"


def written_back(copy: RemovedRow, deed: Record, kept: int) -> str:
    """The sentence of a copy whose values a stored row (`deed`) got back."""
    back = (
        "has its old values again"
        if deed["has_key"]
        else f"is back from {deed['day']} with its old values"
    )
    return f"{copy.name} {back}; what it held until now is kept as {kept}."


def deleted(copy: RemovedRow) -> Restored:
    """What is told of a copy that is gone."""
    return refusal(copy, "somebody deleted the copy meanwhile")


def restored_already(copy: RemovedRow, at: dt.datetime) -> Restored:
    """What is told of a copy that was used before."""
    return refusal(copy, f"it was restored already, at {at:%Y-%m-%d %H:%M:%S %Z}")
