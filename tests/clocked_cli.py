"""`trade-recon` as a process whose clock stands on the day of the tests; else just what `python -m app.cli` runs."""

from unittest.mock import patch

from app.cli import main
from tests.clock import now

if __name__ == "__main__":
    with patch("app.main.now", now), patch("app.cli.now", now):
        main()
