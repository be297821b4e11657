from pathlib import Path

import yaml

from app.web.app import build_app
from app.web.openapi import document

_COMMITTED = Path(__file__).parents[3] / "openapi.yaml"


def test_openapi_yaml_is_what_the_app_serves() -> None:
    assert _COMMITTED.read_text(encoding="utf-8") == document(), "run `make openapi`"
    assert yaml.safe_load(document()) == build_app().openapi()


def test_there_are_exactly_the_calls_that_the_service_promises() -> None:
    calls = {
        (method.upper(), path)
        for path, operations in build_app().openapi()["paths"].items()
        for method in operations
    }
    assert calls == {
        ("POST", "/maintenance"),
        ("POST", "/inspections"),
        ("GET", "/inspections/{run_id}"),
        ("POST", "/runs"),
        ("GET", "/runs"),
        ("GET", "/runs/{run_id}"),
        ("GET", "/runs/{run_id}/result"),
        ("POST", "/runs/{run_id}/pause"),
        ("POST", "/runs/{run_id}/resume"),
        ("POST", "/runs/{run_id}/cancel"),
        ("POST", "/runs/{run_id}/confirm"),
        ("GET", "/accounts/{account_id}"),
        ("POST", "/accounts/{account_id}/reconcile"),
        ("POST", "/accounts/{account_id}/issues/{code}/accept"),
        ("DELETE", "/accounts/{account_id}/issues/{code}/accept"),
        ("GET", "/report"),
        ("GET", "/changes"),
        ("GET", "/changes/rows"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    }


def test_every_answer_is_described_and_every_error_is_a_problem() -> None:
    for path, operations in build_app().openapi()["paths"].items():
        if path == "/metrics":  # text for Prometheus, not JSON
            continue
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status == "304":  # has no body
                    assert "content" not in response
                    continue
                media_type = (
                    "application/problem+json" if int(status) >= 400 else "application/json"
                )
                schema = response["content"][media_type]["schema"]
                assert list(response["content"]) == [media_type]
                assert (schema["$ref"] == "#/components/schemas/Problem") is (int(status) >= 400), (
                    path,
                    status,
                )
            assert operation["summary"]


def test_calls_that_ask_the_database_say_that_it_may_be_gone() -> None:
    paths = build_app().openapi()["paths"]
    silent = [
        path
        for path, operations in paths.items()
        for each in operations.values()
        if "503" not in each["responses"]
    ]
    assert silent == ["/healthz", "/metrics"]


def test_metrics_are_described_as_the_text_that_prometheus_reads() -> None:
    responses = build_app().openapi()["paths"]["/metrics"]["get"]["responses"]
    assert list(responses) == ["200"]
    assert responses["200"]["content"] == {
        "text/plain; version=0.0.4; charset=utf-8": {"schema": {"type": "string"}}
    }
