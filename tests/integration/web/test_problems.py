import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from app.embedded_postgres.server import EmbeddedPostgres
from app.sandbox.server.serving import SandboxServer
from app.store.schema.migrations.migrate import migrate
from app.web.app import build_app
from tests.conftest import Database
from tests.support.commands import ROOT, served, settings_for


def _problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"].endswith(".")
    assert body["instance"].startswith("/")
    assert "Traceback" not in answer.text
    return body


@pytest.fixture
async def client(database: Database, sandbox: SandboxServer) -> AsyncIterator[httpx2.AsyncClient]:
    async with served(settings_for(database.dsn, sandbox.base_url)) as client:
        yield client


async def test_what_is_unknown_is_a_problem_with_404(client: httpx2.AsyncClient) -> None:
    run_id = uuid.uuid4()
    assert str(run_id) in _problem(await client.get(f"/runs/{run_id}"), 404)["detail"]
    assert "nobody" in _problem(await client.get("/accounts/nobody"), 404)["detail"]
    assert "nobody" in _problem(await client.post("/accounts/nobody/reconcile"), 404)["detail"]
    assert (
        "nobody"
        in _problem(await client.post("/runs", json={"account_ids": ["nobody"]}), 404)["detail"]
    )
    assert _problem(await client.get("/nothing"), 404)["instance"] == "/nothing"


async def test_a_method_that_a_path_does_not_know_is_a_problem_with_405(
    client: httpx2.AsyncClient,
) -> None:
    answer = await client.delete("/runs")
    _problem(answer, 405)
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"kind": "everything"}', "body.kind"),
        ('{"max_accounts": 0}', "body.max_accounts"),
        ('{"max_accounts": "5"}', "body.max_accounts"),
        ('{"max_accounts": true}', "body.max_accounts"),
        ('{"max_accounts": 1e30}', "body.max_accounts"),
        ('{"account_ids": []}', "body.account_ids"),
        ('{"account_ids": "one"}', "body.account_ids"),
        ('{"account_ids": [""]}', "body.account_ids.0"),
        ('{"account_ids": ["a", 7]}', "body.account_ids.1"),
        ('{"account_ids": ["a\\u0000b"]}', "body.account_ids.0"),
        ('{"account_ids": ["\\ud800"]}', "body.account_ids.0"),
        (f'{{"account_ids": ["{"x" * 256}"]}}', "body.account_ids.0"),
        (f'{{"account_ids": [{", ".join(["1"] * 10_001)}]}}', "body.account_ids"),
        ('{"unheard_of": 1}', "body.unheard_of"),
        ("[]", "body"),
        ("{", "body.1"),
    ],
)
async def test_a_run_that_cannot_be_is_a_problem_that_names_the_field(
    client: httpx2.AsyncClient, database: Database, body: str, field: str
) -> None:
    answer = await client.post("/runs", content=body, headers={"Content-Type": "application/json"})
    problem = _problem(answer, 422)
    assert field in {each["field"] for each in problem["errors"]}
    assert len(answer.content) < 20_000
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM recon_runs") == 0


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ('{"kind": "everything"}', "must be 'full', 'retry'"),
        ('{"max_accounts": 0}', "must be at least 1."),
        ('{"max_accounts": "5"}', "must be a whole number."),
        ('{"account_ids": []}', "must name at least 1."),
        ('{"account_ids": "one"}', "must be a list."),
        ('{"account_ids": [""]}', "must have at least 1 character."),
        ('{"account_ids": ["a\\u0000b"]}', "holds characters that it may not hold."),
        ('{"changed_only": 1}', "must be true or false."),
        ('{"stop_at": "tomorrow"}', "must be a time with its zone, such as"),
        ('{"stop_at": "2099-01-01T00:00:00"}', "must name its time zone, as in"),
        ('{"unheard_of": 1}', "is not known here."),
        ("[]", "must be an object."),
        ("{", "is no JSON."),
    ],
)
async def test_what_cannot_be_is_told_in_a_sentence_that_says_what_it_must_be(
    client: httpx2.AsyncClient, body: str, sentence: str
) -> None:
    problem = _problem(
        await client.post("/runs", content=body, headers={"Content-Type": "application/json"}), 422
    )
    [error] = problem["errors"]
    assert sentence in error["message"]
    assert f"{error['field']} {error['message'].rstrip('.')}" in problem["detail"]
    assert not any(
        raw in str(problem)
        for raw in ("Input should", "Value error", "String should", "List should", "Extra inputs")
    )


async def test_a_body_without_the_header_that_says_that_it_is_json_is_answered_with_the_header(
    client: httpx2.AsyncClient,
) -> None:
    for headers in (
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain"},
        {},
    ):
        detail = _problem(
            await client.post("/runs", content='{"kind": "full"}', headers=headers), 422
        )["detail"]
        assert "Send a body of JSON with the header Content-Type: application/json." in detail


async def test_a_query_parameter_that_is_not_known_is_a_problem_on_every_route(
    client: httpx2.AsyncClient,
) -> None:
    for path, operations in build_app().openapi()["paths"].items():
        for method in operations:
            url = path.replace("{run_id}", str(uuid.uuid4())).replace("{account_id}", "nobody")
            answer = await client.request(method, url, params={"sicne": "1"})
            [error] = _problem(answer, 422)["errors"]
            assert (error["field"], "is not known here" in error["message"]) == (
                "query.sicne",
                True,
            ), url
    assert (await client.get("/openapi.json", params={"sicne": "1"})).status_code == 422
    misspelled = _problem(await client.get("/changes", params={"sicne": "1"}), 422)
    assert misspelled["errors"][0]["message"] == "is not known here: is since meant?"
    several = _problem(await client.get("/report", params={"a": "1", "b": "2"}), 422)
    assert [error["field"] for error in several["errors"]] == ["query.a", "query.b"]


async def test_ids_in_a_path_that_cannot_be_are_problems_with_422(
    client: httpx2.AsyncClient,
) -> None:
    assert _problem(await client.get("/runs/17"), 422)["errors"][0]["field"] == "path.run_id"
    assert (
        _problem(await client.get("/accounts/a%00b"), 422)["errors"][0]["field"]
        == "path.account_id"
    )
    assert (
        _problem(await client.post(f"/accounts/{'x' * 256}/reconcile"), 422)["errors"][0]["field"]
        == "path.account_id"
    )
    # Bytes that are no UTF-8 name no account.
    _problem(await client.get("/accounts/%ff"), 404)


async def test_a_service_whose_database_goes_away_says_so_and_recovers_by_itself(
    open_folder: Path, sandbox: SandboxServer
) -> None:
    folder = open_folder / f"gone-{uuid.uuid4().hex[:8]}"
    server = await EmbeddedPostgres.start(folder)
    try:
        await migrate(server.dsn())
        async with served(settings_for(server.dsn(), sandbox.base_url)) as client:
            assert (await client.get("/readyz")).json() == {"status": "ready"}
            await server.stop()
            answer = await client.get("/readyz")
            _problem(answer, 503)
            assert answer.headers["Retry-After"]
            for call in (
                client.get("/report"),
                client.get(f"/runs/{uuid.uuid4()}"),
                client.post("/runs"),
                client.post("/maintenance"),
            ):
                _problem(await call, 503)
            assert (await client.get("/healthz")).status_code == 200
            server = await EmbeddedPostgres.start(folder)
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.get("/report")).status_code == 200
    finally:
        await server.stop()


async def test_the_description_that_is_served_is_the_committed_one(
    client: httpx2.AsyncClient,
) -> None:
    committed = yaml.safe_load((ROOT / "openapi.yaml").read_text(encoding="utf-8"))
    assert (await client.get("/openapi.json")).json() == committed
