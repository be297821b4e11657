"""A row of upstream that several reads of a run bring, and that is set aside each time, is one row
in every figure and sentence.
"""

import json

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.ingestion import ingest
from app.store.database.queries import load_queries
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Server
from tests.integration.adoption.test_moving_in import CAPS, DAMAGE, TEXT_TICKETS, upstream_world
from tests.support.engine import engine, run
from tests.support.warehouses.building import execute, new_database
from tests.support.warehouses.heritage import FORMS, IN_PARTS, SCHEMA

_COUNTED = """
SELECT a.account_id, a.rows_set_aside, a.detail,
       (SELECT count(*) FROM recon_set_aside_rows AS s WHERE s.account_id = a.account_id AND s.reason NOT LIKE 'stored with%') AS rows
FROM recon_attempts AS a
WHERE a.run_id = $1 AND a.rows_set_aside > 0
"""
_NARROW = """
SELECT account_id, issue::text FROM trade_recon, jsonb_array_elements(issues) AS issue WHERE issue ->> 'type' = 'key_too_narrow'
"""


async def test_a_row_that_a_scan_and_a_read_of_dates_bring_is_set_aside_once(
    postgres: Server,
) -> None:
    async with new_database(postgres, SCHEMA) as place, SandboxServer(upstream_world()) as sandbox:
        await execute(place, FORMS["integer tickets, partitioned"])
        async with place.owner.connect() as connection:
            await ingest(sandbox.base_url, sandbox.api_key, connection, SCHEMA)
        await migrate(place.owner.dsn, SCHEMA)
        await execute(place, DAMAGE)
        async with engine(place.owner, sandbox, caps=CAPS) as service:
            state = await run(service, RunKind.AUDIT)
        async with place.owner.connect() as connection:
            attempts = await connection.fetch(_COUNTED, state["run_id"])
            narrow = await connection.fetch(_NARROW)
            # As where the process was killed that had set them aside: the next one finds them set
            # aside already.
            await connection.execute("UPDATE recon_runs SET rows_set_aside = 0")
            await connection.execute(
                load_queries("runs/lifecycle", SCHEMA)["count_written"], state["run_id"]
            )
            counted = await connection.fetchval("SELECT rows_set_aside FROM recon_runs")
            tickets = await connection.fetchval(
                "SELECT count(*) FROM recon_set_aside_rows WHERE reason LIKE '%ticket is a text%'"
            )
    assert {row["account_id"] for row in attempts} == {*TEXT_TICKETS, *IN_PARTS}
    for row in attempts:
        assert row["rows_set_aside"] == row["rows"], row
        if row["account_id"] in TEXT_TICKETS:
            assert (
                row["detail"].count("and 2 other rows: key part ticket is a text")
                == row["detail"].count("is a text")
                == 1
            )
    assert isinstance(state["rows"], dict)
    assert state["rows"]["set_aside"] == counted == sum(row["rows"] for row in attempts)
    assert state["values_nulled"] == tickets == 3 * len(TEXT_TICKETS)
    assert {row["account_id"] for row in narrow} == {*IN_PARTS}
    for row in narrow:
        issue = json.loads(row["issue"])
        assert issue["total_mismatches"] == len(issue["metadata"]["rows"]) == 1
        assert "beside others: 1;" in issue["description"]
