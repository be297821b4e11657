"""What a run left, over HTTP."""

from typing import Any

from pydantic import BaseModel, Field

_ACTS = "A person or a later run must act."
_RESTS = "Known, and not the warehouse's to heal."


class RunLeft(BaseModel):
    """What an ended run left; each account counts once, as the most urgent."""

    waiting: int = Field(description=f"Accounts that it did not reach. {_ACTS}")
    healable: int = Field(
        description=f"Accounts that could not be healed, or only in part. {_ACTS}"
    )
    exhausted: int = Field(description=f"Such accounts that failed too often in a row. {_ACTS}")
    backing_off: int = Field(
        description=f"Accounts that it left out, since they back off or are held back. {_ACTS}"
    )
    held: int = Field(description=f"Accounts that are held until confirmed or accepted. {_ACTS}")
    flapping: int = Field(
        description=(
            f"Accounts that are held back, since another writer brings the same issue back. {_ACTS}"
        )
    )
    gone: int = Field(
        description=f"Accounts that others deleted from trade_recon while they waited. {_ACTS}"
    )
    found: int = Field(description=f"Accounts with issues that an inspection found. {_ACTS}")
    new: int = Field(
        description=(
            "Accounts with an issue that is not the warehouse's to heal and that no run had found"
            f" before. {_ACTS}"
        )
    )
    known: int = Field(
        description=(
            f"Accounts with issues that an earlier run showed, or that were confirmed. {_RESTS}"
        )
    )
    settling: int = Field(
        description=(
            "Accounts that differ on dates that still move alone; the next run reads them again."
        )
    )
    accepted: int = Field(description="Accounts with accepted issues alone.")
    incomplete: int = Field(
        description=f"1 if the maintenance before the run was not completed. {_ACTS}"
    )
    nothing_known: int = Field(
        description=f"1 if no account was known, so that nothing was compared. {_ACTS}"
    )
    unmatched_new: int = Field(
        description=(
            "Natural keys of stored rows, found for the first time, that fit no account or"
            f" several. {_ACTS}"
        )
    )
    unmatched: int = Field(description=f"Such natural keys that an earlier run had found. {_RESTS}")
    new_issues: int = Field(
        description=(
            "Accounts at which the run left an issue that it was the first to find, whatever became"
            " of them."
        )
    )


LEFT: Any = Field(
    description="What it left; null while it goes on, and of runs that an earlier version ended."
)
LEFT_TOLD: Any = Field(description="The same in words.")
NEEDS_SOMEBODY: Any = Field(
    description=(
        "Whether action is needed: something left can be healed, is new or waits for confirmation,"
        " or the run did not complete."
    )
)
RESTS_ON: Any = Field(
    description=(
        "What was compared: how many accounts, as of when, by what, with how many requests; or why"
        " nothing was. Null until the end."
    )
)
