"""The statements of db/queries as a fresh install runs them.

Most are composed where their module is built, so all modules are built, and what they fill is
recorded. Those that are composed at run time are filled for one table; a token stays where it
depends on what was found then, such as the columns of a copy.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, cast
from uuid import UUID

from app.domain.accounts.money import AUTO
from app.domain.contract.tables import Endpoint
from app.domain.ids import WorkerId
from app.store.apply.apply import Applier
from app.store.database import queries
from app.store.database.queries import WRITTEN_SCHEMA, list_files, load_queries
from app.store.database.window import ALL_DATES
from app.store.detect.accounts import Detection
from app.store.detect.audit import Scans
from app.store.detect.money.terms import MoneyTerms
from app.store.detect.open_trades import OpenTrades
from app.store.detect.recent import Touched
from app.store.detect.sweep import Sweep
from app.store.identity.identity import Identity
from app.store.identity.natural_keys import first_trade
from app.store.identity.upstream_holders import UpstreamHolders
from app.store.pins import Pins
from app.store.restore.changed_rows import ChangedRows
from app.store.runs.retention import Retention
from app.store.schema.introspect import UniqueKey
from app.store.staging.staging import Staging
from app.store.table_sql.statements import narrow_key, table_tokens, values_of
from tools.rendered.restoring import restore_tokens
from tools.rendered.warehouse import catalogue, files

_TOKEN = re.compile(r"\{\{(\w+)\}\}")
_EXAMPLES = {
    "apply/fingerprints": Endpoint.CLOSED,
    "apply/trade_owners": Endpoint.CLOSED,
    "apply/writing/matching": Endpoint.CLOSED,
    "apply/writing/moves": Endpoint.CLOSED,
    "apply/writing/stale": Endpoint.HOURLY,
    "apply/limits/lowered": Endpoint.DAILY,
    "apply/parts": Endpoint.CLOSED,
    "apply/writing/narrow_keys": Endpoint.CLOSED,
}
"""The table for which a file is filled, where that is not the one of daily metrics."""
_NARROW_KEY = UniqueKey(
    "position",
    ("position", "login", "platform", "broker", "trade_date"),
    nulls_are_equal=False,
)
"""The unique key that the trades of an earlier system have."""
_ALL_ROWS = {"only": "true", "is_missing": "true", "without_id": ""}


def rendered(file: str) -> str:
    """The text of db/rendered/FILE.sql."""
    filled = _filled()
    sql = ALL_DATES.of(load_queries(file, WRITTEN_SCHEMA))
    return "\n".join(f"-- name: {name}\n{filled[file, name]}\n" for name in sql)


@cache
def _filled() -> Mapping[tuple[str, str], str]:
    """All statements by file and name."""
    composed = _composed()
    tables = catalogue()
    restoring = restore_tokens()
    narrow = {
        **values_of(narrow_key(_NARROW_KEY)),
        "first_trade": first_trade(tables[Endpoint.ALLTIME]),
    }
    found: dict[tuple[str, str], str] = {}
    for file in list_files():
        table = tables[_EXAMPLES.get(file, Endpoint.DAILY)]
        tokens = {**table_tokens(table), **_ALL_ROWS, **narrow}
        if file.startswith("restore/"):
            tokens = restoring
        written = load_queries(file, WRITTEN_SCHEMA)
        for name, statement in ALL_DATES.of(written).items():
            text = composed.get(statement) or composed.get(written[name])
            text = text or _known(statement, tokens)
            found[file, name] = "\n".join(line.rstrip() for line in text.splitlines())
    return found


def _known(statement: str, tokens: Mapping[str, str]) -> str:
    """The statement with the tokens that are known filled."""
    return _TOKEN.sub(lambda match: tokens.get(match[1], match[0]), statement)


def _composed() -> dict[str, str]:
    """What building all modules fills, by the statement as it is written: for the first table that
    each is composed for.
    """
    with _recording() as recorded:
        database, tables = files(), catalogue()
        nothing = cast("Any", None)
        identity = Identity(database, tables, nothing, nothing)
        terms = MoneyTerms.of(AUTO, tables)
        Staging(database, tables, WorkerId(UUID(int=0)))
        Applier(database, tables, nothing, nothing)
        UpstreamHolders(database, tables, nothing)
        Detection(database, terms)
        Sweep(database, tables, identity, terms)
        Scans(database, tables, nothing)
        Touched(database, tables)
        OpenTrades(database, tables)
        Retention(database)
        Pins(database)
        ChangedRows(database)
    return recorded


@contextmanager
def _recording() -> Iterator[dict[str, str]]:
    """Within the context the modules of the store record what they fill."""
    recorded: dict[str, str] = {}
    fill: Callable[..., str] = queries.fill

    def recording(sql: str, **tokens: str) -> str:
        text = fill(sql, **tokens)
        recorded.setdefault(sql, text)
        return text

    users = [
        module
        for name, module in sys.modules.items()
        if name.startswith("app.store.") and getattr(module, "fill", None) is fill
    ]
    for module in users:
        vars(module)["fill"] = recording
    try:
        yield recorded
    finally:
        for module in users:
            vars(module)["fill"] = fill
