"""Resolves account ids of an audit's scan."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence

from app.domain.contract.spelling import folded
from app.store.database.pool import Database
from app.store.database.transaction import SWEEP_SECONDS
from app.store.runs.run_queue import Preparations
from app.store.staging.names.stored_keys import StoredKeys
from app.store.staging.staging_sql import NATURAL_KEY


class ScanIds:
    """Writes raise ClaimLost once another worker prepares the run."""

    def __init__(self, database: Database, preparations: Preparations) -> None:
        self._database = database
        self._preparations = preparations
        sql = database.queries("detect/scan_ids")
        self._part_shared, self._forget_shared = sql["part_shared"], sql["forget_shared"]
        self._get_shared, self._strays = sql["get_shared"], sql["get_strays"]
        self._stored_keys = StoredKeys(database)
        self._renamed, self._respell = sql["get_renamed"], sql["respell_scanned"]
        self._stray_days, self._respell_days = sql["get_stray_days"], sql["respell_days"]
        self._name, self._name_days = sql["name_scanned"], sql["name_scanned_days"]

    async def name_rows(self, run_id: uuid.UUID) -> None:
        """Resolve missing or shared ids by natural key."""
        async with self._preparations.transaction(run_id) as connection:
            await connection.execute(self._part_shared, run_id, seconds=SWEEP_SECONDS)
        renamed = await self._database.fetch(self._renamed, run_id, seconds=SWEEP_SECONDS)
        await self._spell(
            self._respell, run_id, [(row["sent_id"], row["account_id"]) for row in renamed]
        )
        strays = [
            row["account_id"]
            for row in await self._database.fetch(self._strays, run_id, seconds=SWEEP_SECONDS)
        ]
        stored = await self._stored_keys.fetch(strays, SWEEP_SECONDS) if strays else []
        columns = [[row[name] for row in stored] for name in ("account_id", *NATURAL_KEY)]
        async with self._preparations.transaction(run_id) as connection:
            await connection.execute(self._name, run_id, *columns, seconds=SWEEP_SECONDS)

    async def forget_shared_ids(self, run_id: uuid.UUID) -> None:
        """Trust ids that a whole scan saw under one natural key."""
        async with self._preparations.transaction(run_id) as connection:
            await connection.execute(self._forget_shared, run_id, seconds=SWEEP_SECONDS)

    async def shared_ids(self) -> list[str]:
        """Ids sent for several natural keys."""
        return [row["account_id"] for row in await self._database.fetch(self._get_shared)]

    async def name_days(self, run_id: uuid.UUID, drifting: Sequence[str]) -> None:
        """Resolve daily rows of differing accounts."""
        if strays := [
            row["account_id"]
            for row in await self._database.fetch(self._stray_days, run_id, seconds=SWEEP_SECONDS)
        ]:
            by_fold = defaultdict[str, list[str]](list)
            for each in drifting:
                by_fold[folded(each)].append(each)
            await self._spell(
                self._respell_days,
                run_id,
                [(sent, each) for sent in strays for each in by_fold[folded(sent)]],
            )
        async with self._preparations.transaction(run_id) as connection:
            await connection.execute(self._name_days, run_id, seconds=SWEEP_SECONDS)

    async def _spell(
        self, statement: str, run_id: uuid.UUID, pairs: Sequence[tuple[str, str]]
    ) -> None:
        """Adopt the known spelling if it is unique."""
        alike = {(sent, known) for sent, known in pairs if folded(sent) == folded(known)}
        times = Counter(each for pair in alike for each in set(pair))
        sole = sorted((sent, known) for sent, known in alike if times[sent] == times[known] == 1)
        if sole:
            async with self._preparations.transaction(run_id) as connection:
                await connection.execute(
                    statement,
                    run_id,
                    [sent for sent, _ in sole],
                    [known for _, known in sole],
                    seconds=SWEEP_SECONDS,
                )
