"""The model of how far batches are that are not recorded yet."""

from pydantic import BaseModel, Field


class UnderWay(BaseModel):
    """How far the batches of a run are that are worked on: nothing of it is counted in the run's
    own figures yet, but `waiting`.
    """

    accounts: int = Field(description="Accounts of these batches.")
    done: int = Field(
        description="Those of them of which nothing more is to be read, as far as is known by now."
    )
    requests: int = Field(description="Requests that were sent for them so far.")
    rows_written: int = Field(
        description="Rows that were inserted, overwritten, moved or removed for them so far."
    )
