"""The service on another day than the machine's: `python -m bench.serve_on DAY serve --port PORT`.

The made-up world ends on a day of its own, whenever it is measured.
"""

import datetime as dt
import sys

from app import clock

if __name__ == "__main__":
    machine = clock.now
    day = dt.datetime.fromisoformat(f"{sys.argv.pop(1)}T20:00:00+00:00")
    behind = machine() - day
    clock.now = lambda: machine() - behind

    from app.cli.app import main

    main()
