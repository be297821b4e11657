"""JSON for programs, with HTTP's fields; besides `serve` only this module knows app.web."""

import sys
from typing import TYPE_CHECKING, Any

import msgspec

from app.engine.report.models import accounts, inspection, report, runs

if TYPE_CHECKING:
    from pydantic import BaseModel


def print_json(found: object) -> None:
    """Write a model of the engine to stdout."""
    model = _model_of(found)
    if model is None:
        text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    else:
        text = model.model_dump_json(indent=2)
    sys.stdout.write(f"{text}\n")


def json_values(found: report.Report) -> dict[str, Any]:
    """The report as JSON values."""
    from app.web.schemas.report import Report
    from app.web.views import shown

    return shown(Report, found).model_dump(mode="json")


def _model_of(found: object) -> "BaseModel | None":
    from app.web.schemas import acceptances as http_acceptances
    from app.web.schemas import accounts as http_accounts
    from app.web.schemas import inspections as http_inspections
    from app.web.schemas import report as http_report
    from app.web.schemas import runs as http_runs
    from app.web.views import shown

    models: dict[type, type[BaseModel]] = {
        runs.RunState: http_runs.Run,
        runs.RunList: http_runs.RunList,
        report.Report: http_report.Report,
        accounts.AccountState: http_accounts.Account,
        accounts.AcceptedIssues: http_acceptances.AcceptedIssues,
        inspection.Inspection: http_inspections.Inspection,
    }
    model = models.get(type(found))
    return None if model is None else shown(model, found)
