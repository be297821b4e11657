"""Reads the feed and copies of rows."""

import re
from dataclasses import asdict

from app.domain.copies import Wanted
from app.engine.report.models.changes import (
    Change,
    ChangedRow,
    ChangedRowPage,
    ChangeFilter,
    Changes,
    ColumnValues,
    InsertedRows,
    NulledRow,
    RemovedCopy,
)
from app.engine.repositories import Repositories
from app.errors import InvalidRequest
from app.store.restore import changed_rows as stored
from app.store.restore.inserted_rows import Inserted
from app.store.restore.restore import RemovedRows

_NULLED_SHOWN = 100
_CURSOR = re.compile(r"0|[1-9][0-9]{0,18}")
_LARGEST_CURSOR = 2**63 - 1


class ChangeReader:
    """Reads changes."""

    def __init__(self, store: Repositories) -> None:
        self._store = store

    async def since(self, cursor: str | None, limit: int) -> Changes:
        """About `limit` slices after the cursor (None: all).

        Raises InvalidRequest.
        """
        page = await self._store.feed.since(0 if cursor is None else _cursor(cursor), limit)
        return Changes(
            changes=[Change(**asdict(change)) for change in page.changes],
            next=str(page.next),
            more=page.more,
        )

    async def rows(self, wanted: ChangeFilter, limit: int) -> ChangedRowPage:
        """Changed rows, newest first; the first page adds inserts and nulled values.

        With `inserted_before` only inserts.
        """
        picked = stored.Picked(
            wanted.account_id, wanted.table, wanted.date, wanted.run_id, wanted.before
        )
        changed = stored.ChangedRows(self._store.database)
        continues = wanted.inserted_before is not None
        is_first = wanted.before is None and not continues
        rows = [] if continues else await changed.page(picked, limit)
        nulled = await changed.nulled(picked, _NULLED_SHOWN) if is_first else []
        inserted = (
            await self._inserted(wanted, limit) if is_first or continues else list[InsertedRows]()
        )
        is_full = len({row.change_id for row in inserted}) == limit
        return ChangedRowPage(
            rows=[_shown(row) for row in rows],
            next=rows[-1].copy.removed_id if len(rows) == limit else None,
            inserted=inserted,
            inserted_next=inserted[-1].change_id if is_full else None,
            nulled=[NulledRow(**asdict(row)) for row in nulled],
        )

    async def copies(self, wanted: Wanted, limit: int, before: int | None) -> list[RemovedCopy]:
        """Copies older than `before`, newest first."""
        rows = await RemovedRows(self._store.database, self._store.feed).page(wanted, limit, before)
        return [
            RemovedCopy(
                removed_id=row.removed_id,
                removed_at=row.removed_at,
                table=row.table,
                account_id=row.account_id,
                date=row.date,
                reason=row.reason.value,
                right_date=row.right_date,
                run_id=row.run_id,
                restored_at=row.restored_at,
                row=row.row,
                key=row.key,
            )
            for row in rows
        ]

    async def _inserted(self, wanted: ChangeFilter, limit: int) -> list[InsertedRows]:
        picked = stored.Picked(
            wanted.account_id, wanted.table, wanted.date, wanted.run_id, wanted.inserted_before
        )
        rows = await Inserted(self._store.database).page(picked, limit)
        return [InsertedRows(**asdict(row)) for row in rows]


def _shown(row: stored.ChangedRow) -> ChangedRow:
    copy = row.copy
    return ChangedRow(
        id=copy.removed_id,
        changed_at=copy.removed_at,
        account_id=copy.account_id,
        table=copy.table,
        date=copy.date,
        key=copy.key,
        reason=copy.reason.value,
        run_id=copy.run_id,
        run_kind=row.run_kind,
        issues=row.issues,
        restored_at=copy.restored_at,
        columns=[ColumnValues(**asdict(column)) for column in row.columns],
        new_from=row.new_from,
        is_written_since=row.is_written_since,
        stood_already=row.stood_already,
        right_date=copy.right_date,
        is_restore=row.is_restore,
        restored_with=row.restored_with,
    )


def _cursor(text: str) -> int:
    if not _CURSOR.fullmatch(text) or int(text) > _LARGEST_CURSOR:
        raise InvalidRequest(
            "`since` is no cursor of this feed: give the `next` of an earlier answer, or leave it"
            " out to begin at the beginning."
        )
    return int(text)
