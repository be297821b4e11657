"""Rules and messages of restoring copies."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
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
    """Why the copy is not restored."""

    why: str


Deed = Literal["insert", "nothing"] | Record | Refused
"""A record is the stored row to overwrite."""


def decide(copy: RemovedRow, present: Sequence[Record]) -> Deed:
    """What to do, given stored rows of the copy's key and of its trade on other dates."""
    here = [row for row in present if row["has_key"]]
    elsewhere = [row for row in present if not row["has_key"]]
    if here:
        return _decide_here(copy.reason, here)
    return _decide_elsewhere(copy, elsewhere) if elsewhere else "insert"


@dataclass(slots=True)
class Deeds:
    """Stored rows to overwrite (`taken`), by copy, and copies to insert."""

    taken: dict[int, Record] = field(default_factory=dict)
    lacking: list[RemovedRow] = field(default_factory=list)

    def add(self, copy: RemovedRow, present: Sequence[Record]) -> Restored | None:
        """The result, if nothing is to be written."""
        deed = decide(copy, present)
        if isinstance(deed, Refused):
            return refusal(copy, deed.why)
        if deed == "nothing":
            return just_so(copy)
        if deed == "insert":
            self.lacking.append(copy)
        else:
            self.taken[copy.removed_id] = deed
        return None

    @property
    def ids(self) -> list[int]:
        """Copies to mark as restored."""
        return [*self.taken, *(copy.removed_id for copy in self.lacking)]


def _decide_here(reason: Reason, here: Sequence[Record]) -> Deed:
    if here[0]["is_elsewhere"]:
        return Refused(
            f"its row is now under {here[0]['row_shard']}, by which the table is distributed, and"
            " cannot be moved back"
        )
    if len(here) == 1 and here[0]["is_equal"]:
        return "nothing"
    if reason is not Reason.OVERWRITTEN:
        return Refused("another row has its key now, and stays as it is")
    if len(here) > 1:
        return Refused(f"{len(here)} rows have its key now, and which of them it was is unknown")
    return _unless_foreign(here[0])


def _decide_elsewhere(copy: RemovedRow, elsewhere: Sequence[Record]) -> Deed:
    # Rows that stood, or were restored, beside the copy's row are not its successors.
    became = [row for row in elsewhere if not row["stood_there"] and row["beside_as"] is None]
    if copy.right_date is not None or (
        copy.reason in {Reason.MOVED, Reason.REMOVED} and not became
    ):
        # The trade was doubled before the run too.
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
            " which one it became is unknown"
        )
    return _unless_foreign(became[0])


def _unless_foreign(row: Record) -> Deed:
    """A later write by others is newer than the copy."""
    if row["is_foreign"]:
        return Refused(
            "another writer changed the row after trade-recon did, and its values stay as they are"
        )
    return row


@dataclass(frozen=True, slots=True)
class Place:
    """A row's account and date; None for trades without id, and for alltime."""

    account_id: str | None
    day: dt.date | None


def changed_slices(copy: RemovedRow, *places: Place) -> dict[str, set[dt.date | None]]:
    """Slices for the change feed: where the row is and was."""
    changed: dict[str, set[dt.date | None]] = {}
    for place in places:
        # A trade without id belongs to the account of its copy.
        account_id = place.account_id or copy.account_id
        if account_id is not None:
            changed.setdefault(account_id, set()).add(place.day)
    return changed


def explained(error: ReconError) -> str:
    """Why PostgreSQL rejected the row, ending a sentence."""
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
            "the table has no partition for its date; have its owner create one, and restore it"
            " again"
        )
    # The first line only: PostgreSQL quotes whole rows below it.
    said = str(error).partition("\n")[0].removesuffix(".")
    return (
        f"others were writing it at each of {TRIES} tries; restore it again ({said})"
        if isinstance(error, WriteConflict)
        else said
    )


def just_so(copy: RemovedRow) -> Restored:
    """Result for a row already as copied."""
    return told_of(copy, f"{copy.name} is already stored like this; nothing was changed.")


def stored_again(copy: RemovedRow, present: Sequence[Record]) -> str:
    """Sentence for an inserted row; `present` are doubles."""
    also = (
        f" The trade stands under {listed([str(row['day']) for row in present])}, too."
        if present
        else ""
    )
    return f"{copy.name} is stored again.{also}"


def written_back(copy: RemovedRow, deed: Record, kept: int) -> str:
    """Sentence for an overwritten row (`deed`)."""
    back = (
        "has its old values again"
        if deed["has_key"]
        else f"is back from {deed['day']} with its old values"
    )
    return f"{copy.name} {back}; what it held until now is kept as {kept}."


def deleted(copy: RemovedRow) -> Restored:
    """Result for a deleted copy."""
    return refusal(copy, "the copy was deleted in the meantime")


def restored_already(copy: RemovedRow, at: dt.datetime) -> Restored:
    """Result for a used copy."""
    return refusal(copy, f"it was restored already, at {at:%Y-%m-%d %H:%M:%S %Z}")
