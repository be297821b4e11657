"""Statements that give metrics rows to their owners."""

from dataclasses import dataclass
from typing import Self

from app.domain.contract.tables import Table
from app.store.database.pool import Database
from app.store.database.queries import fill, quote
from app.store.database.window import ALL_DATES, Window
from app.store.identity.tables import METRICS, tokens_of
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import values_of

RUN = "nullif(current_setting('trade_recon.run', true), '')::uuid"
"""The copies' run, from a transaction setting; none for maintenance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerSql:
    """A row's place under its owner."""

    owner_key: str
    """Stored `t` has the place of `m`."""
    target: str
    """Place for placeholder row `p`."""
    unsent_target: str
    """Place for unsent row `l`."""

    @classmethod
    def of(cls, table: Table) -> Self:
        """The place of rows of a metrics table."""
        others = [quote(column) for column in table.key if column != "account_id"]
        return cls(
            owner_key=" AND ".join(
                ["t.account_id = m.owner", *(f"t.{each} = m.{each}" for each in others)]
            ),
            target=", ".join(["fitting.candidates[1]", *(f"p.{each}" for each in others)]),
            unsent_target=", ".join(["b.owner", *(f"l.{each}" for each in others)]),
        )


class MetricsRepairs:
    """Statements for rows under placeholders, and for rows that upstream does not send."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        sql = database.queries("identity/metrics_repair")

        def composed(table: Table, judged: str, copied: str, *, stands_in: bool) -> str:
            tokens = tokens_of(catalogue, table, window) | values_of(OwnerSql.of(table))
            return fill(
                sql["repair_metrics"],
                **tokens,
                judged=fill(sql[judged].rstrip(), **tokens, maintenance_day="$5::date"),
                copied=copied,
                stands_in="true" if stands_in else "false",
            )

        def copy_of_placeholder(table: Table) -> str:
            day = "day" if table.date_column else "NULL::date"
            return f"{RUN}, owner, $1, {day}, 'placeholder'"

        self.of_placeholders = {
            table: composed(table, "judge_placeholders", copy_of_placeholder(table), stands_in=True)
            for table in METRICS
        }
        self.of_unsent = {
            table.endpoint: (
                table,
                composed(table, "judge_unsent", _COPY_OF_UNSENT, stands_in=False),
            )
            for table in METRICS
            if table.date_column
        }


_COPY_OF_UNSENT = (
    "$4::uuid, holder, $1, day, CASE WHEN is_removed THEN 'removed' ELSE 'overwritten' END"
)
"""Leading columns of its copy."""
