"""Why a run waits, in sentences."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.wording.counts import choose, counted


class WaitReason(StrEnum):
    """The cause of a wait."""

    UPSTREAM_DOWN = "upstream_down"
    UPSTREAM_THROTTLES = "upstream_throttles"
    QUOTA = "quota"
    LOCKS = "locks"
    ACCOUNTS_HELD = "accounts_held"
    PREPARATION_HELD = "preparation_held"
    UNATTENDED = "unattended"
    TURN = "turn"
    POSTPONED = "postponed"
    PAUSED = "paused"
    GUARD = "guard"


@dataclass(frozen=True, slots=True)
class Hindrance:
    """What holds up a process, in seconds `since`, to the next try and the end."""

    reason: WaitReason
    since: float
    detail: str = ""
    next_in: float | None = None
    ends_in: float | None = None

    @property
    def kind(self) -> tuple[WaitReason, str]:
        """Equal where only times differ."""
        return self.reason, self.detail


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a run waits, at the latest `until`."""

    reason: WaitReason
    message: str
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    accounts: int | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """A process, and its hindrance."""

    place: str
    heartbeat_at: dt.datetime
    reason: str | None = None
    detail: str = ""
    since: dt.datetime | None = None
    next_try_at: dt.datetime | None = None
    given_up_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Blocker:
    """Another session that locks rows of trade_recon."""

    pid: int
    role: str
    program: str
    since: dt.datetime | None


def hindered(processes: Sequence[Process], now: dt.datetime) -> list[Wait]:
    """Hindrances of live processes, each reason once."""
    waits = []
    for reason in WaitReason:
        among = [process for process in processes if process.reason == reason]
        if among:
            first = min(among, key=lambda process: process.since or now)
            share = (
                f" ({len(among)} of {len(processes)} processes)"
                if len(among) < len(processes)
                else ""
            )
            waits.append(
                Wait(
                    reason,
                    f"{_told(reason, first, now)}{share}.",
                    first.since,
                    first.next_try_at or first.given_up_at,
                )
            )
    return waits


def _told(reason: WaitReason, process: Process, now: dt.datetime) -> str:
    since = "" if process.since is None else f" since {moment(process.since, now)}"
    detail = f" ({process.detail})" if process.detail else ""
    tried = "" if process.next_try_at is None else f", next try {_in(process.next_try_at, now)}"
    ends = (
        "" if process.given_up_at is None else f", given up at {moment(process.given_up_at, now)}"
    )
    match reason:
        case WaitReason.UPSTREAM_DOWN:
            return f"Upstream does not answer{since}{detail}{tried}{ends}"
        case WaitReason.UPSTREAM_THROTTLES:
            return f"Upstream asks for fewer requests{since}{detail}{tried}{ends}"
        case WaitReason.QUOTA:
            return f"The quota is used up: a request waits for its turn{since}{detail}"
        case _:
            return f"Others hold the same rows{since}{detail}{tried}"


def held_accounts(accounts: int, process: Process, free_at: dt.datetime, now: dt.datetime) -> Wait:
    """Accounts claimed by a silent process."""
    return Wait(
        WaitReason.ACCOUNTS_HELD,
        f"{counted(accounts, 'account')} {choose(accounts, 'is', 'are')} held by a worker not heard"
        f" of since {moment(process.heartbeat_at, now)} ({process.place}), free at"
        f" {moment(free_at, now, with_seconds=True)}.",
        process.heartbeat_at,
        free_at,
        accounts,
    )


def held_preparation(process: Process, free_at: dt.datetime, now: dt.datetime) -> Wait:
    """A run whose preparing process is silent."""
    return Wait(
        WaitReason.PREPARATION_HELD,
        f"The run is prepared by a worker not heard of since {moment(process.heartbeat_at, now)}"
        f" ({process.place}); another one takes it over at"
        f" {moment(free_at, now, with_seconds=True)}.",
        process.heartbeat_at,
        free_at,
    )


def unattended() -> Wait:
    """A run without a process."""
    return Wait(
        WaitReason.UNATTENDED,
        "No process works on runs: start `trade-recon serve`, or `trade-recon reconcile`, which"
        " finishes what is open.",
    )


def turn(runs: int, first: object) -> Wait:
    """A run that waits for a free worker."""
    return Wait(
        WaitReason.TURN,
        f"The workers are at {counted(runs, 'other run')}"
        f" ({'the oldest is ' if runs > 1 else ''}{first}): this one is taken up when one of them"
        " is free.",
    )


def locked(accounts: int, blocker: Blocker, now: dt.datetime) -> Wait:
    """Accounts whose rows in trade_recon are locked."""
    program = f", {blocker.program}" if blocker.program else ""
    since = (
        ""
        if blocker.since is None
        else f", open since {moment(blocker.since, now, with_seconds=True)}"
    )
    return Wait(
        WaitReason.LOCKS,
        f"{counted(accounts, 'account')} {choose(accounts, 'waits', 'wait')} for rows of"
        f" trade_recon, which another transaction may lock: session {blocker.pid} of"
        f" {blocker.role}{program}{since}.",
        blocker.since,
        None,
        accounts,
    )


def postponed(accounts: int, until: dt.datetime, now: dt.datetime) -> Wait:
    """Accounts read a second time later."""
    return Wait(
        WaitReason.POSTPONED,
        f"{counted(accounts, 'account')} {choose(accounts, 'is', 'are')} read a second time at"
        f" {moment(until, now, with_seconds=True)}, since a fetch could not be completed.",
        None,
        until,
        accounts,
    )


def paused(since: dt.datetime | None, run_id: object, now: dt.datetime) -> Wait:
    """A paused run."""
    at = "" if since is None else f" since {moment(since, now)}"
    return Wait(
        WaitReason.PAUSED,
        f"The run is paused{at}: `trade-recon runs resume {run_id}` or POST /runs/{run_id}/resume"
        " lets it go on.",
        since,
    )


def guarded(message: str, since: dt.datetime | None, accounts: int) -> Wait:
    """A run that a guard stopped."""
    return Wait(WaitReason.GUARD, message, since, None, accounts or None)


def moment(at: dt.datetime, now: dt.datetime, *, with_seconds: bool = False) -> str:
    """A moment in UTC, with its date unless that is today."""
    here = at.astimezone(dt.UTC)
    day = "" if here.date() == now.astimezone(dt.UTC).date() else f"{here:%Y-%m-%d} "
    return f"{day}{here:%H:%M:%S} UTC" if with_seconds else f"{day}{here:%H:%M} UTC"


def _in(at: dt.datetime, now: dt.datetime) -> str:
    seconds = round((at - now).total_seconds())
    return f"in {seconds} s" if seconds > 0 else "now"
