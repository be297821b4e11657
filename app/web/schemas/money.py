"""What was learned of amounts, as the report shows it."""

import datetime as dt

from pydantic import BaseModel, Field


class MoneyRelation(BaseModel):
    """That the sums of net profit or lots are equal in two tables."""

    relation: str = Field(
        description=(
            "The two tables and the figure, such as daily_hourly_net_profit; RECON_MONEY takes"
            " these names."
        )
    )
    accounts: int = Field(
        description="Accounts whose counts agree in both tables and that have an amount in either."
    )
    holding: int = Field(
        description="Those of them for which both sums are equal but for rounding."
    )
    is_used: bool = Field(
        description="Whether accounts for which it does not hold have the issue money_mismatch."
    )
    reason: str = Field(description="Why it is used or not.")
    learned_at: dt.datetime
