"""The pages of docs/reference that are made from the code."""

from collections.abc import Callable, Mapping

from tools.reference.cli import cli_page
from tools.reference.http import http_page
from tools.reference.issues import issues_page
from tools.reference.metrics import metrics_page
from tools.reference.settings import settings_page

PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "http.md": http_page,
    "issues.md": issues_page,
    "metrics.md": metrics_page,
    "settings.md": settings_page,
}
"""Each by its name in docs/reference."""
