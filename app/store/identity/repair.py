"""Assigns rows with missing or wrong ids to their only possible account."""

import asyncio
import datetime as dt
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.domain.contract.tables import Table
from app.domain.ids import RunId
from app.errors import ResourcesExhausted, RowRefused, StatementTooSlow, WriteConflict
from app.store.change_feed import ChangeFeed
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import LOCK_SECONDS, SWEEP_SECONDS, Record
from app.store.database.window import ALL_DATES, Window
from app.store.identity.metrics_repair import RUN, MetricsRepairs
from app.store.identity.natural_keys import NaturalKeys
from app.store.identity.reach import EVERYWHERE, SOMEWHERE, ReachSql
from app.store.identity.tables import METRICS, TRADES, tokens_of
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import values_of
from app.store.write_pace import WritePace
from app.telemetry import get_logger

CHUNK_ROWS = 5_000
"""Rows per transaction, to keep ingestion's waits short."""
_TRIES = 5
_PAUSE_SECONDS = 0.2
_MOST_REFUSED = 100
"""Rejected rows per table, each found by search, before giving up."""
_log = get_logger(__name__)


@dataclass(slots=True)
class Repaired:
    """Repaired rows by table; `md5_rows` had placeholders."""

    rows: Counter[str] = field(default_factory=Counter)
    md5_rows: int = 0
    account_ids: set[str] = field(default_factory=set)

    def add(self, table: Table, rows: Sequence[Record]) -> None:
        """Add results of a statement, without rows that a trigger kept."""
        for row in rows:
            if row["account_id"] is not None:
                self.rows[table.name] += row["rows"]
                self.md5_rows += row["md5_rows"]
                self.account_ids.add(row["account_id"])


class IdRepair:
    """Repairs findings without rereading them; copies belong to the given run."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        feed: ChangeFeed,
        pace: WritePace,
        metrics: MetricsRepairs,
        window: Window = ALL_DATES,
    ) -> None:
        self._database = database
        self._feed = feed
        self._pace = pace
        self._metrics = metrics
        sql = database.queries("identity/repair")
        self._of_trades = {
            (reach, table): [
                fill(
                    sql[name],
                    **tokens_of(catalogue, table, window),
                    **values_of(reach),
                    run=RUN,
                )
                for name in ("repair_null_ids", "repair_foreign_ids")
            ]
            for reach in (EVERYWHERE, SOMEWHERE)
            for table in TRADES
        }

    async def repair(
        self,
        keys: NaturalKeys | None,
        placeholders: Sequence[str],
        today: dt.date,
        run_id: RunId | None = None,
    ) -> Repaired:
        """Repair rows of keys (None: all), and metrics under `placeholders`."""
        reach: ReachSql = EVERYWHERE if keys is None else SOMEWHERE
        arrays = () if keys is None else keys.arrays
        repaired = Repaired()
        for table in TRADES:
            for statement in self._of_trades[reach, table]:
                await self._repeat(statement, table, arrays, repaired, run_id)
        for table in METRICS if placeholders else ():
            statement = self._metrics.of_placeholders[table]
            given = list(placeholders), today
            await self._repeat(statement, table, given, repaired, run_id)
        return repaired

    async def _repeat(
        self,
        statement: str,
        table: Table,
        arguments: tuple[object, ...],
        repaired: Repaired,
        run_id: RunId | None,
    ) -> None:
        """Repair in chunks, skipping rejected or locked rows."""
        refused = resisting = conflicts = 0
        most = limit = self._pace.chunk(CHUNK_ROWS)
        until = time.monotonic() + 2 * SWEEP_SECONDS
        while refused < _MOST_REFUSED:
            try:
                # The offset skips irreparable rows, which the statement orders first.
                given = (limit, refused + resisting, *arguments)
                rows = await self._repair_some(statement, table, given, run_id)
            except WriteConflict as error:
                conflicts += 1
                if conflicts == _TRIES:
                    _note_left(table, f"others are writing them: {error}")
                    return
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            except (RowRefused, StatementTooSlow) as error:
                await self._require_one_row(error, until)
                if limit > 1:
                    limit = max(1, limit // 8)
                    continue
                refused += 1
                _note_left(table, f"the table rejects one: {error}")
                continue
            if not rows:
                break
            limit = min(most, limit * 2)
            resisting += sum(row["resisting"] for row in rows)
            repaired.add(table, rows)
            await self._pace.spend(sum(row["rows"] for row in rows))
        if resisting:
            _note_left(table, f"a trigger of the table keeps the ids of {resisting} rows")

    async def _require_one_row(self, error: RowRefused | StatementTooSlow, until: float) -> None:
        """Raise if no single row is at fault: no room, or always too slow."""
        if isinstance(error, ResourcesExhausted):
            await self._database.require_room()
        elif isinstance(error, StatementTooSlow) and time.monotonic() > until:
            raise error

    async def _repair_some(
        self, statement: str, table: Table, arguments: tuple[object, ...], run_id: RunId | None
    ) -> list[Record]:
        async with self._database.transaction(lock_seconds=LOCK_SECONDS) as connection:
            if run_id is not None:
                await connection.execute(
                    "SELECT set_config('trade_recon.run', $1, true)", str(run_id)
                )
            rows = await connection.fetch(statement, table.name, *arguments, seconds=SWEEP_SECONDS)
            changed: dict[str, set[dt.date | None]] = defaultdict(set)
            for row in rows:
                if row["account_id"] is None:
                    continue
                changed[row["account_id"]].update(row["days"])
                if row["holder"] is not None:
                    changed[row["holder"]].update(row["days"])
            await self._feed.note(connection, run_id, table.name, changed)
        return rows


def _note_left(table: Table, reason: str) -> None:
    _log.warning(
        "Rows keep a missing or wrong account id for now.",
        action="identity.left",
        table=table.name,
        reason=reason,
    )
