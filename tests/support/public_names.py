"""The names that users hold on to, as the code has them: commands and options, calls, fields, SQL
objects, issue codes, settings, metrics, log actions.

`python -m tests.support.public_names` prints them: what tests/unit/public_names.txt holds.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from typer._click import Command

from app.cli.app import app
from app.domain.issues.codes import IssueCode
from app.settings.model import Settings
from app.store.schema.migrations.files import baseline_files, later_files
from app.web.app import build_app
from tools.reference.metrics import metrics_page

_ROOT = Path(__file__).parents[2]
_SQL_OBJECT = re.compile(
    r"CREATE (?:OR REPLACE )?(?:UNLOGGED )?(TABLE|VIEW|MATERIALIZED VIEW|FUNCTION|PROCEDURE)"
    r"(?: IF NOT EXISTS)? prop_trading_model\.(\w+)",
    re.IGNORECASE,
)
_METRIC = re.compile(r"^\| `(trade_recon_\w+)`", re.MULTILINE)


def public_names() -> list[str]:
    """All of them, one a line, each with what it is of."""
    return sorted(
        {
            *_commands(typer.main.get_command(app), "trade-recon"),
            *_http(build_app().openapi()),
            *(f"issue {code.value}" for code in IssueCode),
            *(f"setting {name.upper()}" for name in Settings.model_fields),
            *(f"metric {name}" for name in _METRIC.findall(metrics_page())),
            *_sql_objects(),
            *(f"action {name}" for name in _actions()),
        }
    )


def _commands(command: Command, words: str) -> Iterator[str]:
    yield f"command {words}"
    for parameter in command.params:
        for name in (*parameter.opts, *parameter.secondary_opts):
            yield f"command {words} {name}"
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, f"{words} {name}")


def _http(document: dict[str, Any]) -> Iterator[str]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"call {method.upper()} {path} {operation['operationId']}"
            for parameter in operation.get("parameters", ()):
                yield f"call {method.upper()} {path} ?{parameter['name']}"
    for name, schema in document["components"]["schemas"].items():
        yield f"schema {name}"
        for field in schema.get("properties", ()):
            yield f"schema {name}.{field}"


def _sql_objects() -> Iterator[str]:
    for path in (*baseline_files(), *later_files()):
        for kind, name in _SQL_OBJECT.findall(path.read_text(encoding="utf-8")):
            yield f"sql {kind.lower()} {name}"


def _actions() -> Iterable[str]:
    """Values of `action` in calls of the log, and of constants that are passed for it."""
    for path in sorted((_ROOT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "action":
                for part in ast.walk(node.value):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}\n" for name in public_names())
