"""Results of maintenance over HTTP."""

import datetime as dt

from pydantic import BaseModel, Field


class UnmatchedKey(BaseModel):
    """Rows with a missing or wrong id that fit no account or several."""

    table: str
    login: str
    platform: str
    broker: str
    account_id: str | None = Field(description="The id that the rows carry.")
    candidates: list[str] = Field(description="The accounts that fit; none of them is guessed.")
    rows: int


class Maintenance(BaseModel):
    """Results of maintenance."""

    closed_trades_updated: int
    open_trades_updated: int
    md5_hashes_fixed: int
    unmatched_combinations: int = Field(description="Natural keys that no account or several fit.")
    metrics_rows_updated: int
    ambiguous_combinations: int = Field(description="Natural keys that several accounts fit.")
    accounts_added: int
    totals_changed: int
    unmatched: list[UnmatchedKey] = Field(description="The largest of the unmatched combinations.")
    history_from: dt.date | None = Field(
        description="The first date that is counted, by RECON_HISTORY_FROM; null: all."
    )
    rows_before_history: int = Field(
        description="Rows that are stored of dates before that; they are left alone."
    )
    accounts_locked: int = Field(
        description=(
            "Accounts whose totals were not written: another transaction holds their rows in"
            " trade_recon."
        )
    )
    accounts_refused: int = Field(
        description=(
            "Accounts that PostgreSQL does not let into trade_recon, or whose rows there cannot be"
            " written."
        )
    )
    accounts_known: int = Field(description="All accounts that are known by then.")
    money_dropped: list[str] = Field(
        description=(
            "Relations between amounts that held before and are not compared, since fewer than half"
            " of the accounts keep them."
        )
    )
    message: str | None = Field(description="What to do where no account is known.")
    seconds: float
