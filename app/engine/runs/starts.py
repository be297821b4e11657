"""Checks and queues requested runs."""

import datetime as dt

import msgspec

from app.domain.ids import AccountId, RunId
from app.domain.runs.emptiness import NOBODY_KNOWN
from app.domain.runs.request import IdempotencyKey, RunRequest
from app.domain.states import RunKind
from app.engine.repositories import Repositories
from app.errors import InvalidRequest, NotFound

_MOST_ACCOUNTS = 2**31 - 1
_NAMED = 5


class RunStarts:
    """Queues runs for any process."""

    def __init__(self, store: Repositories) -> None:
        self._store = store

    async def start(
        self, request: RunRequest, idempotency_key: str | None, reason: str | None
    ) -> RunId:
        """Queue a run; see `ReconService.start_run`."""
        key = None if idempotency_key is None else IdempotencyKey(idempotency_key, request.digest)
        if key is not None and (known := await self._store.runs.of_key(key)) is not None:
            return known
        request = _with_utc_stop(request)
        await self._require_sense(request)
        if request.account_ids is not None:
            request = await self._with_known_accounts(request, request.account_ids)
        run_id = await self._store.runs.create(request, key)
        await self._store.orders.note("start", run_id, reason, kind=request.kind.value)
        return run_id

    async def _require_sense(self, request: RunRequest) -> None:
        if request.stop_at is not None and await self._store.runs.is_past(request.stop_at):
            raise InvalidRequest(
                f"stop_at must be in the future; {request.stop_at.isoformat()} is past. No run was"
                " started."
            )
        if request.max_accounts is not None and not 1 <= request.max_accounts <= _MOST_ACCOUNTS:
            raise InvalidRequest(f"max_accounts must be from 1 to {_MOST_ACCOUNTS}.")
        if request.changed_only:
            self._require_stamps(request)
        if request.kind is RunKind.INSPECT and request.depth is not None:
            raise InvalidRequest(
                "depth goes with runs that ask upstream, and an inspection does not. No run was"
                " started."
            )

    def _require_stamps(self, request: RunRequest) -> None:
        if request.kind is not RunKind.FULL or request.account_ids is not None:
            raise InvalidRequest(
                "changed_only goes with a run of kind full, and without account_ids. No run was"
                " started."
            )
        unstamped = self._store.touched.unstamped
        if unstamped:
            raise InvalidRequest(
                f"changed_only needs the column ingestion_timestamp, which {', '.join(unstamped)}"
                " has not. No run was started."
            )

    async def _with_known_accounts(
        self, request: RunRequest, account_ids: tuple[AccountId, ...]
    ) -> RunRequest:
        """The first accounts, each once; NotFound if unknown."""
        if not account_ids:
            raise InvalidRequest("account_ids must name at least one account, or be left out.")
        unknown = await self._store.account_lists.unknown_accounts(account_ids)
        if unknown:
            hint = "" if await self._store.preparations.count_accounts() else f" {NOBODY_KNOWN}"
            others = " and others" if len(unknown) > _NAMED else ""
            raise NotFound(
                f"No such account: {', '.join(unknown[:_NAMED])}{others}. No run was started.{hint}"
            )
        limited = tuple(dict.fromkeys(account_ids))[: request.max_accounts]
        # Ingestion may have brought an account since the last maintenance.
        kept_out = await self._store.account_lists.add_accounts(limited)
        for account_id, why in kept_out.items():
            raise InvalidRequest(
                f"{account_id} cannot be reconciled, since trade_recon refuses its row: {why}."
                " No run was started."
            )
        return msgspec.structs.replace(request, account_ids=limited)


def _with_utc_stop(request: RunRequest) -> RunRequest:
    if request.stop_at is None:
        return request
    sentence = f"stop_at must lie before the year {dt.MAXYEAR} in UTC. No run was started."
    try:
        stop_at = request.stop_at.astimezone(dt.UTC)
    except (OverflowError, ValueError) as error:
        raise InvalidRequest(sentence) from error
    if stop_at.year == dt.MAXYEAR:
        # Its last moment reads as infinity in PostgreSQL's driver.
        raise InvalidRequest(sentence)
    return msgspec.structs.replace(request, stop_at=stop_at)
