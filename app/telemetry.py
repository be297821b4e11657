"""Logs: sentences on stderr with a stable `action` and ids, without secrets.

`configure_logging` covers structlog and standard logging; start uvicorn with `log_config=None`.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import quote, quote_plus

import structlog

REDACTED = "[redacted]"
"""Replaces a secret."""

_SECRET_KEY = re.compile(
    r"apikey|password|passwd|authorization|secret|dsn$|databaseurl$|token$|cookie$"
)
"""Names of secrets, in lower case without `-` and `_`; `tokens_left` is none."""

_URL_PASSWORD = re.compile(r"(://[^\s:/@]*):[^\s@/]+@")
_LONG = 8
"""Length from which a secret is hidden inside words."""

_secrets: dict[str, re.Pattern[str]] = {}


def register_secret(value: str) -> None:
    """Keep `value` out of later logs, also URL-encoded.

    A short one only as a whole word: "firm" would spoil "confirmed".
    """
    for form in (value, quote(value, safe=""), quote_plus(value)):
        if form:
            text = re.escape(form)
            _secrets[form] = re.compile(
                rf"(?<![A-Za-z0-9]){text}(?![A-Za-z0-9])"
                if len(form) < _LONG and form.isalnum()
                else text
            )


def configure_logging(*, json: bool | None = None, level: int | str = "INFO") -> None:
    """Send all logs to stderr, as JSON lines or for reading (None: by terminal).

    The last call counts; ValueError for an unknown level.
    """
    if json is None:
        json = not sys.stderr.isatty()
    # For records of structlog and of the standard library.
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Before `redact`, since an exception's message may hold a secret.
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                redact,
                _json_renderer() if json else _console_renderer(),
            ],
        )
    )
    _replace_handlers(handler, level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def _replace_handlers(handler: logging.Handler, level: int | str) -> None:
    root = logging.getLogger()
    root.setLevel(level)
    for old in [old for old in root.handlers if isinstance(old, _StderrHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True
        server.setLevel(logging.NOTSET)
    for name in ("httpx2", "httpcore2"):
        # One line per request would bury ours.
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that follows even a later `configure_logging`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def redact(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Hide secrets: by field name, registered value, and in URLs."""
    return {
        _cleaned_text(str(key)): REDACTED if _is_secret(key) else _cleaned(value)
        for key, value in event.items()
    }


def redacted(text: str) -> str:
    """The text without secrets."""
    return _cleaned_text(text)


def _is_secret(key: object) -> bool:
    return _SECRET_KEY.search(re.sub(r"[-_ ]", "", str(key)).lower()) is not None


def _cleaned(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {
                _cleaned_text(str(key)): REDACTED if _is_secret(key) else _cleaned(item)
                for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_cleaned(item) for item in value]
        case _:
            # The renderer would turn it into text after redaction.
            return _cleaned_text(str(value))


def _cleaned_text(text: str) -> str:
    # Longest first: a secret that contains another must not leave its remainder behind.
    for secret in sorted(_secrets, key=len, reverse=True):
        text = _secrets[secret].sub(REDACTED, text)
    return _URL_PASSWORD.sub(rf"\1:{REDACTED}@", text)


class _StderrHandler(logging.Handler):
    """Writes to the current `sys.stderr`, which a progress bar replaces."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001 - logging's own rule: a line that cannot be written never breaks the work
            self.handleError(record)


def _json_renderer() -> structlog.processors.JSONRenderer:
    return structlog.processors.JSONRenderer(ensure_ascii=False)


def _console_renderer() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
