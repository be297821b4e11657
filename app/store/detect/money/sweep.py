"""Amounts in the sweep: which relations hold here, and which accounts break them."""

from collections.abc import Sequence

from app.domain.accounts.money import LEAST_SHARE
from app.store.database.pool import Database
from app.store.database.transaction import SWEEP_SECONDS, Connection, Record
from app.store.database.window import Window
from app.store.detect.money.statements import MoneyStatements
from app.store.detect.money.terms import MoneyTerms
from app.telemetry import get_logger

_log = get_logger(__name__)
_MANY = 4
"""Above this share of suspects, reading the dates of all accounts is cheaper."""


class MoneySweep:
    """Learns from what a sweep summed up, in its transaction."""

    def __init__(self, database: Database, terms: MoneyTerms, window: Window) -> None:
        """Compose the statements for the dates of the window."""
        self._mode = terms.mode
        self.statements = MoneyStatements(database, terms.columns, window)

    async def find(self, connection: Connection) -> None:
        """Learn the relations, and fill recon_swept_money with accounts that break them."""
        used = await self._learn(connection)
        await connection.execute(self.statements.suspects(used), seconds=SWEEP_SECONDS)
        counted = await connection.fetch_row(self.statements.count_suspects)
        is_many = counted is not None and counted["dated"] * _MANY > counted["accounts"]
        accounts = (
            "true"
            if is_many
            else (
                "account_id = ANY(ARRAY(SELECT account_id FROM recon_swept_suspects WHERE by_date))"
            )
        )
        await connection.execute(self.statements.dated(used, accounts), seconds=SWEEP_SECONDS)

    async def _learn(self, connection: Connection) -> list[str]:
        learn = self.statements.learn
        rows = await connection.fetch(learn, seconds=SWEEP_SECONDS) if learn else []
        used = [
            row["relation"]
            for row in rows
            if self._mode.is_used(row["relation"], row["accounts"], row["holding"])
        ]
        reasons = [self._reason(row, is_used=row["relation"] in used) for row in rows]
        before = await connection.fetch(
            self.statements.keep,
            [row["relation"] for row in rows],
            [row["accounts"] for row in rows],
            [row["holding"] for row in rows],
            [row["relation"] in used for row in rows],
            reasons,
        )
        if self._mode.relations is None:
            # What the setting leaves out was not lost.
            _warn_of_lost({row["relation"] for row in before} - set(used), rows)
        return used

    def _reason(self, row: Record, *, is_used: bool) -> str:
        if self._mode.relations is not None:
            return "named by RECON_MONEY" if is_used else "not named by RECON_MONEY"
        if not row["accounts"]:
            return (
                "no account had an amount in both tables when they were last learned: the next run"
                " or inspection learns again"
            )
        told = f"holds for {row['holding']} of {row['accounts']} accounts"
        return told if is_used else f"{told}, which is less than {LEAST_SHARE:.0%}"


def _warn_of_lost(lost: set[str], rows: Sequence[Record]) -> None:
    """Warn: a relation that held until now may be lost to a night stored wrong."""
    for row in rows:
        if row["relation"] in lost and row["accounts"]:
            _log.warning(
                "A relation between amounts is not used any more, since it holds for too few"
                " accounts: if that is an error of the last ingestion, name the relation in"
                " RECON_MONEY and run again.",
                action="money.relation_lost",
                relation=row["relation"],
                accounts=row["accounts"],
                holding=row["holding"],
            )
