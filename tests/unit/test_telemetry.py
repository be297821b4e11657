import contextlib
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
import structlog

from app import telemetry
from app.telemetry import REDACTED, configure_logging, get_logger, register_secret

_SECRET = 'k3y/with "quotes" & ümlaut'


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging is state of the process: other tests find it as they left it."""
    monkeypatch.setattr(telemetry, "_secrets", {})
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def _events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_log_line_is_json_with_a_utc_time_where_stderr_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging()
    get_logger("app.test").info("3 accounts were healed.", action="run.finished", run_id=7)
    (event,) = _events(capsys)
    assert (event["event"], event["action"], event["run_id"]) == (
        "3 accounts were healed.",
        "run.finished",
        7,
    )
    assert (event["level"], event["logger"]) == ("info", "app.test")
    assert datetime.fromisoformat(str(event["timestamp"])).utcoffset() == timedelta(0)


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="WARNING")
    get_logger("app.test").info("quiet")
    logging.getLogger("other").info("quiet")
    assert capsys.readouterr().err == ""


def test_a_logger_made_before_follows_a_later_configuration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = get_logger("app.test")
    configure_logging(json=False)
    configure_logging(json=True)
    logger.info("once")
    assert [event["event"] for event in _events(capsys)] == ["once"]


def test_uvicorn_and_the_standard_library_log_the_same_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logging.getLogger("uvicorn.access").addHandler(logging.StreamHandler(io.StringIO()))
    logging.getLogger("uvicorn.access").propagate = False
    configure_logging(json=True)
    logging.getLogger("uvicorn.access").info('%s - "%s %s"', "127.0.0.1", "GET", "/healthz")
    assert [(event["logger"], event["event"]) for event in _events(capsys)] == [
        ("uvicorn.access", '127.0.0.1 - "GET /healthz"')
    ]


def test_warnings_become_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(json=True)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(
            capture=False
        )  # pytest records warnings: capture anew inside its recording
        logging.captureWarnings(capture=True)
        warnings.warn("old ways", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    (event,) = _events(capsys)
    assert "old ways" in str(event["event"])


@pytest.mark.parametrize(
    "key",
    [
        "apiKey",
        "RISK_API_KEY",
        "password",
        "Authorization",
        "dsn",
        "database_url",
        "api-key",
        "client_secret",
    ],
)
def test_a_value_under_the_name_of_a_secret_is_redacted_at_any_depth(
    capsys: pytest.CaptureFixture[str], key: str
) -> None:
    configure_logging(json=True)
    get_logger("app.test").info("sent", **{key: "top"}, request={"headers": [{key: "deep"}]})
    (event,) = _events(capsys)
    assert event[key] == REDACTED
    assert event["request"] == {"headers": [{key: REDACTED}]}


def test_a_name_that_only_resembles_a_secret_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(json=True)
    get_logger("app.test").info("paced", tokens_left=3, key_columns=["login"])
    (event,) = _events(capsys)
    assert (event["tokens_left"], event["key_columns"]) == (3, ["login"])


@pytest.mark.parametrize("as_json", [True, False])
def test_a_registered_secret_appears_nowhere(
    capsys: pytest.CaptureFixture[str],
    as_json: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    register_secret(_SECRET)
    configure_logging(json=as_json)
    logger = get_logger("app.test")
    sentence = f"asked with {_SECRET}"
    logger.info(
        sentence, note=_SECRET, rows=[(_SECRET,)], by_key={_SECRET: 1}, thing=Exception(_SECRET)
    )
    logger.info("encoded", url="https://h/?k=k3y%2Fwith%20%22quotes%22%20%26%20%C3%BCmlaut")
    try:
        int(_SECRET)
    except ValueError:
        logger.exception("failed")
        logging.getLogger("other").exception("failed with %s", _SECRET)
    written = capsys.readouterr().err
    assert written.count(REDACTED) >= 8
    for form in (_SECRET, "k3y", json.dumps(_SECRET)[1:-1]):
        assert form not in written


def test_a_password_in_a_url_is_redacted_even_if_nobody_registered_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(json=True)
    get_logger("app.test").info("connecting to postgresql://recon:pa55@host/db")
    (event,) = _events(capsys)
    assert event["event"] == f"connecting to postgresql://recon:{REDACTED}@host/db"


def test_the_empty_string_is_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    register_secret("")
    configure_logging(json=True)
    get_logger("app.test").info("plain")
    assert [event["event"] for event in _events(capsys)] == ["plain"]


def test_a_line_goes_to_what_stderr_is_at_that_moment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging(json=True)
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    get_logger("app.test").info("later")
    assert capsys.readouterr().err == ""
    assert "later" in later.getvalue()


def test_a_line_that_nobody_reads_any_more_does_not_break_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure_logging(json=True)
    out, into = os.pipe()
    os.close(out)
    with open(into, "w", buffering=1, encoding="utf-8") as broken:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stderr", broken)
        get_logger("app.test").info("lost")
        monkeypatch.undo()
        with contextlib.suppress(BrokenPipeError):
            broken.close()


def test_a_short_secret_is_taken_out_as_a_word_and_leaves_others_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(json=True)
    register_secret("firm")
    get_logger("test").info(
        "confirmed: password firm, again 'firm', firm@host and :firm",
        sentence="the firm's affirmation",
    )
    written = capsys.readouterr().err
    assert "confirmed" in written
    assert "affirmation" in written
    assert written.count(REDACTED) == 5
