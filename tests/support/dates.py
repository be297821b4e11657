"""Runs the tests on other days: the clock of all their processes is moved, and the day on which the
tests play with it.

Without a date on the command line all of `_MOMENTS` have their turn and a date that is drawn;
`random` draws one alone. What stands behind the date goes to pytest. Without a C compiler only the
tests' own day is another one.
"""

import argparse
import datetime as dt
import os
import random
import shutil
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
_FIRST, _DAYS = dt.date(2026, 3, 10), 4000
"""None may be drawn before the day on which the tests play otherwise: what they store, real trades
among it, would lie in the future.
"""
_CLOCK = Path(__file__).parent / "moved_clock.c"


def _say(text: str) -> None:
    sys.stdout.write(f"== {text}\n")
    sys.stdout.flush()


def _drawn() -> str:
    return (_FIRST + dt.timedelta(days=random.SystemRandom().randrange(_DAYS))).isoformat()


def _library(folder: Path) -> Path | None:
    """The library that moves a process's clock, made by the compiler of this machine; None if there
    is none.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    library = folder / "moved_clock.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(_CLOCK), "-ldl"], check=True
    )
    # The account that runs PostgreSQL loads it too.
    folder.chmod(0o755)
    return library


def _run(why: str, date: str, options: Sequence[str]) -> int:
    moment = dt.datetime.fromisoformat(date)
    if "T" not in date:
        moment = moment.replace(hour=12)
    moment = moment.replace(tzinfo=dt.UTC)
    with tempfile.TemporaryDirectory(prefix="trade-recon-clock-") as folder:
        library = _library(Path(folder))
        _say(
            f"{moment:%Y-%m-%d %H:%M} UTC:"
            f" {why}{'' if library else '; there is no C compiler, so the clock of the machine stays'}"
        )
        variables = {**os.environ, "TEST_TODAY": f"{moment:%Y-%m-%d}", "TZ": _ZONE}
        if library:
            # A distance and no moment: it is the same for every process, whenever it starts.
            variables |= {
                "LD_PRELOAD": str(library),
                "CLOCK_MOVED_BY": f"{moment.timestamp() - time.time():.0f}",
            }
        code = subprocess.run(
            [sys.executable, "-m", "pytest", *options], env=variables, check=False
        ).returncode
    _say(
        f"{date}:"
        f" {'passed' if code == 0 else f'FAILED; to run it once more: make test-dates DATE={date}'}"
    )
    return code


def main() -> int:
    """Run; 1 if the tests failed on any of the days."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--date", help="YYYY-MM-DD, with Thh:mm if need be (UTC), or `random`; without it all days"
    )
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
