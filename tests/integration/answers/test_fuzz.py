"""Whatever the API sends for one field, or whatever happens to the bytes of an answer: only what is
odd is concerned, or nothing is kept.

Real PostgreSQL, one database for all examples; the pages come straight from the decoder into the
reading of all pages.
"""

import datetime as dt
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.repositories import Repositories
from app.errors import IncompleteFetch
from app.sandbox.world.world import World
from app.store.database.pool import Database as Pool
from app.store.detect.scan_sink import Oddities
from app.store.schema.raw.tables import STAGED
from app.upstream.failures import AttemptFailed
from app.upstream.paging.scan import scan_all
from app.upstream.paging.whole import fetch_whole
from app.upstream.redaction import Redactor
from app.upstream.response import Answer, decode
from tests.conftest import SCHEMA, Database, Server
from tests.support.mutations import ENVELOPES, LOST, WORDS, Mutation, enveloped, mutations, spoiled

if TYPE_CHECKING:
    import asyncpg

_TODAY = dt.date(2026, 3, 10)
_QUOTE = Redactor("the-key")
_ROWS = 6
Row = Mapping[str, object]


def _rows() -> dict[Endpoint, list[Row]]:
    """A few valid rows for each table, without the many figures that are alike."""
    world = World.generate(
        4, seed=3, today=_TODAY, trades_per_account=12, days=30, contradictory=False
    )
    named = {
        "accountId", "login", "mt_version", "broker", "platform", "date", "tradeDate", "datetime", "hour", "numTrades", "netProfit",
        "totalLots", "trader", "country", "status", "firstTradeDate", "lastTradeClose", "successRate", "riskAdjProfit", "ticket",
        "position", "side", "lots", "openTime", "closeTime", "comment", "stdSymbol", "profit",
    }  # fmt: skip
    chosen: dict[Endpoint, list[Row]] = {}
    for endpoint in STAGED:
        rows = world.rows(endpoint)
        step = max(1, len(rows) // _ROWS)
        chosen[endpoint] = [
            {name: _plain(value) for name, value in row.items() if name in named}
            for row in rows[::step][:_ROWS]
        ]
    return chosen


def _plain(value: object) -> object:
    return value if isinstance(value, (str, int, bool, type(None))) else float(str(value))


ROWS = _rows()


@dataclass(frozen=True)
class _Bench:
    """A store, and a connection that looks into its staging."""

    store: Repositories
    connection: "asyncpg.Connection[asyncpg.Record]"

    async def staged(self, endpoint: Endpoint, fetch_id: object) -> list[dict[str, object]]:
        stage = (
            TABLES[endpoint]
            .name.replace("raw_metrics", "recon_stage")
            .replace("raw_trades", "recon_stage")
        )
        rows = await self.connection.fetch(
            f"SELECT to_json(s) AS row FROM {stage} AS s WHERE fetch_id = $1 ORDER BY ordinal",
            fetch_id,
        )
        told = [json.loads(row["row"]) for row in rows]
        return [
            {
                name: value
                for name, value in row.items()
                if name not in {"fetch_id", "ordinal", "unsent", "source"}
            }
            for row in told
        ]


@pytest.fixture(scope="module")
async def bench(postgres: Server, template: str) -> AsyncIterator[_Bench]:
    async with postgres.clone(template, "fuzz") as name:
        database = Database(postgres.database(name), SCHEMA)
        async with (
            Pool.open(database.dsn, database.schema) as pool,
            database.connect() as connection,
        ):
            yield _Bench(await Repositories.build(pool, 60), connection)


def _fuzzed(examples: int) -> settings:
    return settings(
        max_examples=examples,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


async def _fetched(
    bench: _Bench, endpoint: Endpoint, body: bytes, rows: Sequence[bytes]
) -> tuple[list[dict[str, object]], bool]:
    """What a fetch of which the first page is `body` leaves in staging, and whether it is
    proven.
    """

    async def read(skip: int) -> Answer:
        return decode(body if not skip else enveloped(rows[skip:], ENVELOPES[2]), _QUOTE)

    sink = await bench.store.staging.begin(endpoint)
    try:
        held, _ = await fetch_whole(read, sink, "The read")
        assert held == sink.staged.rows
    except (AttemptFailed, IncompleteFetch) as error:
        if isinstance(error, IncompleteFetch):
            assert await bench.staged(endpoint, sink.staged.fetch_id) == []
        return [], False
    else:
        return await bench.staged(endpoint, sink.staged.fetch_id), True
    finally:
        await sink.forget()


_plain_rows: defaultdict[Endpoint, list[dict[str, object]]] = defaultdict(list)


async def _expected(bench: _Bench, endpoint: Endpoint) -> list[dict[str, object]]:
    if not _plain_rows[endpoint]:
        plain = [json.dumps(row).encode() for row in ROWS[endpoint]]
        _plain_rows[endpoint], is_whole = await _fetched(
            bench, endpoint, enveloped(plain, ENVELOPES[0]), plain
        )
        assert is_whole
    return _plain_rows[endpoint]


@pytest.mark.parametrize("endpoint", STAGED)
@pytest.mark.parametrize(
    "value",
    [rb'"a\u0000b"', b"NaN", b'"2026-11-31"', b"[" * 3000 + b"]" * 3000],
    ids=["nul", "word", "date", "deep"],
)
async def test_an_odd_value_in_any_field_costs_that_field_or_its_row_if_it_is_of_the_key(
    bench: _Bench, endpoint: Endpoint, value: bytes
) -> None:
    for name in sorted({*ROWS[endpoint][0], "unheard of"}):
        await _assert_only_one_row_is_concerned(
            bench, endpoint, Mutation(2, name, value), ENVELOPES[0]
        )


@_fuzzed(100)
@given(data=st.data())
async def test_one_odd_field_never_costs_another_field_or_another_row(
    bench: _Bench, data: st.DataObject
) -> None:
    endpoint = data.draw(st.sampled_from(STAGED))
    mutation = data.draw(mutations(ROWS[endpoint]))
    await _assert_only_one_row_is_concerned(
        bench, endpoint, mutation, data.draw(st.sampled_from(ENVELOPES))
    )


async def _assert_only_one_row_is_concerned(
    bench: _Bench, endpoint: Endpoint, mutation: Mutation, form: bytes
) -> None:
    expected = await _expected(bench, endpoint)
    sent = mutation.applied(ROWS[endpoint])
    staged, is_whole = await _fetched(bench, endpoint, enveloped(sent, form), sent)
    column = next(
        (field.column for field in TABLES[endpoint].fields if field.api_name == mutation.name), None
    )
    if not is_whole:  # only a key that another row has is a reason
        assert column in TABLES[endpoint].key
        assert any(
            row.get(mutation.name) == ROWS[endpoint][mutation.row].get(mutation.name)
            for row in ROWS[endpoint]
        )
        return
    assert len(staged) == len(expected)
    for other in [*expected[: mutation.row], *expected[mutation.row + 1 :]]:
        staged.remove(other)
    (row,), plain = staged, expected[mutation.row]
    meta = {"refused", "nulled", column}
    others_agree = all(row[name] == value for name, value in plain.items() if name not in meta)
    assert others_agree or "cannot be read" in str(row["refused"])
    is_empty = mutation.value in {b"null", b'""', b'" "'}
    if column is not None and row[column] is None and not is_empty:
        assert row["refused"] is not None or column in str(row["nulled"])
    if (
        column is not None
        and "\ufffd" in str(row[column])
        and "\ufffd" not in mutation.value.decode("utf-8", "ignore")
    ):
        assert column in str(row["nulled"])
        refused = str(row["refused"] or "")
        assert ("holds characters" in refused) == (column in TABLES[endpoint].key)
        assert not refused or "holds characters" in refused or "is longer than" in refused


@_fuzzed(120)
@given(data=st.data())
async def test_whatever_happens_to_the_bytes_of_an_answer_it_is_taken_whole_or_not_at_all(
    bench: _Bench, data: st.DataObject
) -> None:
    endpoint = data.draw(st.sampled_from(STAGED))
    rows = [json.dumps(row).encode() for row in ROWS[endpoint]]
    body = data.draw(spoiled(enveloped(rows, ENVELOPES[0])))
    expected = await _expected(bench, endpoint)
    staged, is_whole = await _fetched(bench, endpoint, body, rows)
    if is_whole:
        assert len(staged) == len(expected) or not staged
        assert sum(row not in expected for row in staged) <= 3


@pytest.mark.parametrize(
    "value", [rb'"a\u0000b"', b"NaN", b'"2026-11-31"', b"{}", b"1e400000", b"true"]
)
async def test_a_scan_notes_all_other_rows_whatever_one_of_them_holds(
    bench: _Bench, value: bytes
) -> None:
    for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY):
        for name in sorted({*ROWS[endpoint][0], "unheard of"}):
            await _assert_scanned(bench, endpoint, Mutation(2, name, value), ENVELOPES[0])


@_fuzzed(25)
@given(data=st.data())
async def test_a_scan_survives_any_odd_field(bench: _Bench, data: st.DataObject) -> None:
    endpoint = data.draw(st.sampled_from([Endpoint.ALLTIME, Endpoint.DAILY]))
    await _assert_scanned(
        bench, endpoint, data.draw(mutations(ROWS[endpoint])), data.draw(st.sampled_from(ENVELOPES))
    )


async def _assert_scanned(
    bench: _Bench, endpoint: Endpoint, mutation: Mutation, form: bytes
) -> None:
    scans = bench.store.scans
    run_id = await bench.store.runs.create(RunRequest(kind=RunKind.AUDIT))
    assert await bench.store.preparations.take(run_id)
    noted, odd = {}, Oddities()
    table = "recon_scan" if endpoint is Endpoint.ALLTIME else "recon_scan_days"
    plain = [json.dumps(row).encode() for row in ROWS[endpoint]]
    for name, rows in (("plain", plain), ("odd", mutation.applied(ROWS[endpoint]))):
        sink = (
            scans.alltime_sink(run_id) if endpoint is Endpoint.ALLTIME else scans.days_sink(run_id)
        )
        pages = {0: decode(enveloped(rows, form), _QUOTE)}

        async def read(skip: int, pages: dict[int, Answer] = pages) -> Answer:
            return pages.get(skip, Answer((), None))

        assert await scan_all(read, sink, "The scan") == len(rows)
        found = await bench.connection.fetch(
            f"SELECT to_jsonb(s) - 'run_id' AS row FROM {table} AS s WHERE run_id = $1", run_id
        )
        noted[name] = [json.loads(row["row"]) for row in found]
        # What an audit does next survives what was noted, and changes nothing in the next example.
        await scans.find_drift(run_id, dt.date.max, None)
        await scans.find_drift(run_id, _TODAY, None)
        await scans.note_stale_alltime(run_id)
        odd = scans.take_oddities(run_id)
        await scans.clear(run_id)
    await bench.connection.execute("DELETE FROM recon_runs WHERE run_id = $1", run_id)
    key = {"accountId", "date"} & {mutation.name}
    unconcerned = [
        row for row in noted["plain"] if _is_of_other(row, ROWS[endpoint][mutation.row], endpoint)
    ]
    assert [row for row in unconcerned if row not in noted["odd"]] == []
    assert len(noted["odd"]) == len(noted["plain"]) or key
    if mutation.value in LOST or mutation.value.decode("latin-1") in WORDS:
        assert odd.fields + odd.rows >= 1
        assert any(mutation.name in " ".join(what) for what in odd.named.values())


def _is_of_other(noted: Row, sent: Row, endpoint: Endpoint) -> bool:
    is_same_day = endpoint is Endpoint.ALLTIME or str(sent["date"]).replace("-", "")[:8] == str(
        noted["date"]
    ).replace("-", "")
    return not (noted["account_id"] == sent["accountId"] and is_same_day)
