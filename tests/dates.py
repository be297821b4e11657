"""Runs the tests on other days: the machine's clock is moved by Debian's faketime, and the day on which the tests play with it.

Without a date on the command line all of `_MOMENTS` have their turn and a date that is drawn; `random` draws one alone. What
stands behind the date goes to pytest. Where faketime is not installed, only the tests' own day is another one.
"""

import argparse
import datetime as dt
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

_ZONE = "Europe/Berlin"
_MOMENTS = {
    "the last day of a month, which ends during the tests": "2027-04-30T23:57",
    "the first day of a month": "2027-06-01T00:02",
    "29 February": "2028-02-29T12:00",
    "31 December, which ends during the tests": "2026-12-31T23:57",
    "a clock put forward during the tests": "2027-03-28T00:57",
    "a clock put back during the tests": "2027-10-31T00:57",
}
_FIRST, _DAYS = dt.date(2024, 1, 1), 4000
_SHIM = Path(__file__).parent / "faketime"
_LIBRARIES = ("usr/lib/*/faketime/libfaketimeMT.so.1", "usr/lib/faketime/libfaketimeMT.so.1", "usr/local/lib/faketime/libfaketimeMT.so.1")


def _say(text: str) -> None:
    sys.stdout.write(f"== {text}\n")
    sys.stdout.flush()


def _drawn() -> str:
    return (_FIRST + dt.timedelta(days=random.SystemRandom().randrange(_DAYS))).isoformat()


def _library() -> Path | None:
    return next((path for pattern in _LIBRARIES for path in sorted(Path("/").glob(pattern))), None)


def _moved(moment: dt.datetime, library: Path, compiled: str) -> dict[str, str]:
    """The variables that put a process and all that it starts to another time, from which the clock goes on."""
    return {
        "LD_PRELOAD": str(library),
        # A distance and no moment: it is the same for every process, whenever it starts.
        "FAKETIME": f"{moment.timestamp() - time.time():+.0f}",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # The times of files move too: compiled modules would be written again by each run, and by the one after it.
        "PYTHONPYCACHEPREFIX": compiled,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_SHIM), os.environ.get("PYTHONPATH")])),
        "TZ": _ZONE,
    }


def _run(why: str, date: str, options: Sequence[str]) -> int:
    moment = dt.datetime.fromisoformat(date)
    if "T" not in date:
        moment = moment.replace(hour=12)
    moment = moment.replace(tzinfo=dt.UTC)
    library = _library()
    _say(f"{moment:%Y-%m-%d %H:%M} UTC: {why}{'' if library else '; faketime is not installed, so the clock of the machine stays'}")
    with tempfile.TemporaryDirectory(prefix="trade-recon-compiled-") as compiled:
        clock = _moved(moment, library, compiled) if library else {}
        variables = {**os.environ, **clock, "TEST_TODAY": f"{moment:%Y-%m-%d}"}
        code = subprocess.run([sys.executable, "-m", "pytest", *options], env=variables, check=False).returncode
    _say(f"{date}: {'passed' if code == 0 else f'FAILED; to run it once more: make test-dates DATE={date}'}")
    return code


def main() -> int:
    """Run; 1 if the tests failed on any of the days."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--date", help="YYYY-MM-DD, with Thh:mm if need be (UTC), or `random`; without it all days")
    arguments, options = parser.parse_known_args()
    # As an exception, with which subprocess ends pytest first.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if arguments.date and arguments.date != "random":
        chosen = {"as told": arguments.date}
    else:
        chosen = {**({} if arguments.date else _MOMENTS), "drawn": _drawn()}
    codes = [_run(why, date, options) for why, date in chosen.items()]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
