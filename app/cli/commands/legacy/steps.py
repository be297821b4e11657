"""The steps of `trade-recon legacy`, in the first system's shapes; new figures have new names."""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.cli.follow import finish_left_runs, serve_run, start_or_join
from app.cli.printed import json_values
from app.cli.runtime import ExitCode, exit_code_of
from app.composition import compared_store, open_readings, open_service, open_store
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.codes import IssueCode
from app.domain.runs.request import RunRequest
from app.domain.states import Outcome, RunKind
from app.engine.preparation.maintenance import fix_ids
from app.engine.report.models.runs import RunAttempt, RunState
from app.engine.report.views import Readings
from app.engine.repositories import Repositories
from app.engine.service import ReconService
from app.errors import InvalidRequest
from app.settings.load import load_settings
from app.settings.model import Settings

_UNMATCHED_LISTED = 100
_CALLS: Mapping[str, str] = {
    Endpoint.ALLTIME: "fetch_alltime",
    Endpoint.DAILY: "fetch_daily",
    Endpoint.HOURLY: "fetch_hourly",
    Endpoint.CLOSED: "fetch_trades",
    Endpoint.OPEN: "fetch_open_trades",
}
_TRADE_TYPES: Mapping[str, str] = {
    TABLES[Endpoint.CLOSED].name: "closed",
    TABLES[Endpoint.OPEN].name: "open",
}


@dataclass(frozen=True, slots=True)
class _Steps:
    fix_null_ids: bool
    reconcile: RunRequest | None
    report: bool


async def perform_steps(
    *, fix_null_ids: bool, reconcile: bool, retry: bool, report: bool, most: int | None
) -> ExitCode:
    """Do the flags' steps in the order of a night; InvalidRequest."""
    if retry and not reconcile:
        raise InvalidRequest(
            "--retry-failed does nothing without --reconcile: give both. Nothing was done."
        )
    if not (fix_null_ids or reconcile or report):
        alone = "" if most is None else "--max-accounts does nothing by itself. "
        raise InvalidRequest(
            f"{alone}Give at least one of --fix-null-ids, --reconcile and --report. Nothing was"
            " done."
        )
    request = (
        RunRequest(RunKind.RETRY if retry else RunKind.FULL, most, None) if reconcile else None
    )
    steps = _Steps(fix_null_ids, request, report)
    settings = load_settings()
    if request is not None:
        async with open_service(settings) as service:
            return await _done(steps, settings, service.store, service.readings, service)
    async with open_store(settings, only_reads=not fix_null_ids) as store:
        return await _done(steps, settings, store, open_readings(settings, store), None)


async def _done(
    steps: _Steps,
    settings: Settings,
    store: Repositories,
    readings: Readings,
    service: ReconService | None,
) -> ExitCode:
    code = ExitCode.SUCCESS
    if steps.fix_null_ids:
        _tell(
            "NULL account_id fix results",
            await _fixed(await compared_store(settings, store), readings),
        )
    if steps.reconcile is not None and service is not None:
        run_id, is_ours = await start_or_join(service, steps.reconcile)
        state = await serve_run(service, run_id, is_ours=is_ours)
        await finish_left_runs(service)
        _tell(
            "Reconciliation results",
            _run_results(state, await readings.run_attempts(run_id)),
        )
        # As the first system: what is left is told, and fails no script.
        code = ExitCode.FAILURE if exit_code_of(state) is ExitCode.FAILURE else ExitCode.SUCCESS
    if steps.report:
        _tell("Reconciliation report", await _reported(readings))
    return code


def _tell(label: str, results: Mapping[str, object]) -> None:
    # ASCII alone, whatever stdout's encoding; at once, so that a later step that breaks off takes
    # nothing back.
    sys.stdout.write(f"{label}: {json.dumps(results, indent=2)}\n")
    sys.stdout.flush()


async def _reported(readings: Readings) -> dict[str, object]:
    """HTTP's report; activity by dates, whose `resolved` is the checksum."""
    return {
        **json_values(await readings.report()),
        "recent_activity": [msgspec.to_builtins(day) for day in await readings.checked_by_date()],
    }


async def _fixed(store: Repositories, readings: Readings) -> dict[str, object]:
    result = await fix_ids(store, readings.today())
    found = await readings.unresolved_keys(_UNMATCHED_LISTED)
    return {
        "closed_trades_updated": result.closed_trades_updated,
        "open_trades_updated": result.open_trades_updated,
        "md5_hashes_fixed": result.md5_hashes_fixed,
        "unmatched_combinations": [
            {
                "login": finding.login,
                "platform": _number(finding.platform),
                "broker": _number(finding.broker),
                "trade_type": _TRADE_TYPES.get(finding.table, "metrics"),
                "account_id": finding.account_id,
                "candidates": list(finding.candidates),
                "rows": finding.rows,
            }
            for finding in found.sample
        ],
        "unmatched_total": result.unmatched_combinations,
    }


def _run_results(state: RunState, attempts: Sequence[RunAttempt]) -> dict[str, object]:
    resolved = sum(map(_is_resolved, attempts))
    return {
        "total_processed": state.total_processed,
        "fully_resolved": resolved,
        "partially_resolved": state.total_processed - resolved - state.failed,
        "failed": state.failed,
        "skipped_due_to_previous_failure": state.skipped_due_to_previous_failure,
        "api_stats": _calls(state.api_stats),
        "details": [_detail(attempt) for attempt in attempts],
        "run_id": str(state.run_id),
        "status": str(state.status),
        "error": state.error,
    }


class _CallFigures(msgspec.Struct):
    requests: int
    failures: dict[str, int]


def _calls(api_stats: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, int]:
    calls: Counter[str] = Counter()
    for endpoints in api_stats.values():
        for endpoint, kept in endpoints.items():
            figures = msgspec.convert(kept, _CallFigures)
            calls[_CALLS[endpoint]] += figures.requests
            calls["api_errors"] += sum(figures.failures.values())
    return {kind: count for kind, count in sorted(calls.items()) if count}


def _number(key_part: str | None) -> int | str | None:
    """A key part as a number where it is one, as scripts of the first system expect."""
    return int(key_part) if key_part is not None and key_part.isdecimal() else key_part


def _is_resolved(attempt: RunAttempt) -> bool:
    """Whether the account is resolved by its present checksum."""
    return bool(attempt.trades_recon_checksum) and attempt.outcome != Outcome.FAILED


def _detail(attempt: RunAttempt) -> dict[str, object]:
    # The first system counts what is for information alone among the issues, before a run and after
    # it.
    few_hours = [IssueCode.SUSPICIOUSLY_FEW_HOURS.value] if attempt.has_few_hours else []
    found, left = (
        {*(attempt.issues_found or ()), *few_hours},
        [*(attempt.issues_left or ()), *few_hours],
    )
    return {
        "account_id": attempt.account_id,
        "resolved": _is_resolved(attempt),
        "issues_found": len(found),
        "issues_resolved": len(found - set(left)),
        "new_issues": [{"type": code} for code in left],
        "outcome": attempt.outcome,
        "detail": attempt.detail,
    }
