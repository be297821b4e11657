"""The tokens of the statements that bring back a copy of a closed trade with all of its columns."""

import datetime as dt
import json

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.copies import Reason
from app.store.database.queries import WRITTEN_SCHEMA, load_queries, quote
from app.store.restore.columns import RestoredColumn
from app.store.restore.conditions import CopyConditions, part
from app.store.restore.copies import RemovedRow
from app.store.restore.shape import Shape
from tools.rendered.warehouse import fields_of, files

_TABLE = TABLES[Endpoint.CLOSED]


def restore_tokens() -> dict[str, str]:
    """What the tokens stand for; `changed` as for one copy."""
    shape = Shape(_copy(), _columns(), f"{quote(WRITTEN_SCHEMA)}.{_TABLE.name}", None)
    conditions = CopyConditions(files())
    changed = load_queries("restore/row_restore", WRITTEN_SCHEMA)["name_changed_columns"]
    return {
        **shape.tokens,
        "is_foreign": conditions.foreign(None),
        "stood_there": conditions.stood_there(None),
        "beside_as": conditions.beside_as(shape),
        "plain_copies": conditions.plain_copies("$1"),
        "changed": part(changed),
        "table": f"'{_TABLE.name}'",
    }


def _copy() -> RemovedRow:
    values = {field.column: "" for field in fields_of(_TABLE)}
    return RemovedRow(
        removed_id=1,
        removed_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        table=_TABLE.name,
        account_id="",
        date=dt.date(2026, 1, 1),
        reason=Reason.OVERWRITTEN,
        run_id=None,
        restored_at=None,
        row=json.dumps(values),
    )


def _columns() -> list[RestoredColumn]:
    return [
        RestoredColumn(
            field.column,
            is_generated=False,
            is_numbered=False,
            sql_type=field.sql_type,
            sort="text" if field.sql_type.startswith("varchar") else "plain",
        )
        for field in fields_of(_TABLE)
    ]
