"""docs/reference/metrics.md: the metrics of `GET /metrics`, of a process without traffic."""

import re

from app.engine.report.models.api import use_of
from app.upstream.resilience.breaker import BreakerState
from app.upstream.stats import ApiStatistics
from app.web.metrics import exposition
from tools.reference.markdown import code, page, table

_HEAD = """\
`GET /metrics` has Prometheus text of the process that answers, counted since it started: scrape
each replica. How the warehouse stands is in `GET /report` ([figures](figures.md))."""


def metrics_page() -> str:
    """The page."""
    text = exposition(use_of(next(iter(BreakerState)), ApiStatistics())).decode()
    meanings = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    labels = {name: _labels(text, name) for name in kinds}
    rows = [
        [code(name), kind, ", ".join(map(code, labels[name])), meanings[name]]
        for name, kind in kinds.items()
    ]
    values = {label: those for each in labels.values() for label, those in each.items()}
    rows_of_labels = [[code(label), ", ".join(map(code, values[label]))] for label in values]
    heads = ("metric", "type", "labels", "meaning")
    return page("Metrics", _HEAD, table(heads, rows), table(("label", "values"), rows_of_labels))


def _labels(text: str, name: str) -> dict[str, list[str]]:
    """The labels of a metric with their values; the bounds of a histogram are left out."""
    found: dict[str, list[str]] = {}
    for sample in re.findall(rf"^{name}(?:_bucket)?{{(.*)}} ", text, re.MULTILINE):
        for label, value in re.findall(r'(\w+)="([^"]*)"', sample):
            if label != "le" and value not in found.setdefault(label, []):
                found[label].append(value)
    return found
