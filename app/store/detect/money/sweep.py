"""Learns valid relations between amounts."""

from collections.abc import Sequence

from app.domain.accounts.money import Known
from app.store.database.pool import Database
from app.store.database.transaction import SWEEP_SECONDS, Connection, Record
from app.store.database.window import Window
from app.store.detect.money.statements import MoneyStatements
from app.store.detect.money.terms import MoneyTerms
from app.telemetry import get_logger

_log = get_logger(__name__)
_MANY = 4
"""Above 1/4 suspects, reading all accounts is cheaper."""


class MoneySweep:
    """Works on a sweep's sums, in its transaction."""

    def __init__(self, database: Database, terms: MoneyTerms, window: Window) -> None:
        self._mode = terms.mode
        self.statements = MoneyStatements(database, terms.columns, window)

    async def find(self, connection: Connection) -> list[str]:
        """Learn the relations, and fill recon_swept_money with accounts that break them.

        Returns those that held before and that most accounts break now.
        """
        used, dropped = await self._learn(connection)
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
        return dropped

    async def _learn(self, connection: Connection) -> tuple[list[str], list[str]]:
        """Used and dropped relations."""
        learn = self.statements.learn
        rows = await connection.fetch(learn, seconds=SWEEP_SECONDS) if learn else []
        before = {
            row["relation"]: Known(row["is_used"], row["reason"])
            for row in await connection.fetch(self.statements.get)
        }
        known = {
            row["relation"]: Known.judge(
                self._mode,
                row["relation"],
                row["accounts"],
                row["holding"],
                before.get(row["relation"], Known()),
            )
            for row in rows
        }
        await connection.execute(
            self.statements.keep,
            [row["relation"] for row in rows],
            [row["accounts"] for row in rows],
            [row["holding"] for row in rows],
            [each.is_used for each in known.values()],
            [each.reason for each in known.values()],
        )
        dropped = sorted(name for name, each in known.items() if each.is_dropped)
        _warn_of_lost({name for name in dropped if before[name].is_used}, rows)
        return [name for name, each in known.items() if each.is_used], dropped


def _warn_of_lost(lost: set[str], rows: Sequence[Record]) -> None:
    """A faulty ingestion may be the cause."""
    for row in rows:
        if row["relation"] in lost and row["accounts"]:
            _log.warning(
                "A relation between amounts is no longer used, since it holds for fewer than half"
                " of the accounts: if the last ingestion was wrong, name the relation in"
                " RECON_MONEY and run again.",
                action="money.relation_lost",
                relation=row["relation"],
                accounts=row["accounts"],
                holding=row["holding"],
            )
