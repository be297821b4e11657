"""Starts and stops a cluster's server."""

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from app.embedded_postgres.account import reason_of, run_as
from app.embedded_postgres.cluster import Cluster
from app.errors import ConfigurationError, DatabaseUnavailable
from app.telemetry import get_logger

_log = get_logger(__name__)
START_SECONDS = 60.0
"""Limit of a start or stop."""
PORT = 5432
"""Part of the socket's name; no address is listened on."""
_LONGEST_SOCKET_PATH = 103
"""For every system (macOS 103, Linux 107)."""
_NO_PROCESS = 2**31 - 1
_TRANSIENT = ("is still in use", "lock file")
"""Messages while a killed server disappears."""


@dataclass(frozen=True, slots=True)
class _Postmaster:
    """The content of `postmaster.pid`."""

    pid: int
    socket_folder: Path
    ready: bool


def ensure_running(cluster: Cluster, settings: Mapping[str, str]) -> Path:
    """Start the server unless it runs; the folder of its socket.

    Raises ConfigurationError if it fails, DatabaseUnavailable if it is not ready in time; its
    recovery then goes on.
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
                f" {reason_of(cluster.log_file.read_text(encoding='utf-8', errors='replace'))}"
            )
        time.sleep(0.02)


def _postmaster(cluster: Cluster) -> _Postmaster | None:
    try:
        lines = cluster.pid_file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return None
    if not lines or not lines[0].strip().isdigit():
        # PostgreSQL does not start over an empty or torn file; under the start lock, none is being
        # written.
        cluster.pid_file.unlink()
        return None
    fields = [line.strip() for line in lines] + [""] * 8
    return _Postmaster(
        pid=int(fields[0]), socket_folder=Path(fields[4]), ready=fields[7] == "ready"
    )


def _serves(pid: int, cluster: Cluster) -> bool:
    """Whether it is this cluster's server: ids are reused."""
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

    PostgreSQL checks a killed server's children by the other lines.
    """
    _, *rest = cluster.pid_file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    cluster.pid_file.write_text(
        "\n".join([str(_NO_PROCESS), *rest, ""]), encoding="utf-8", errors="surrogateescape"
    )


def _launch(cluster: Cluster, settings: Mapping[str, str], deadline: float) -> None:
    """One start; ConfigurationError for a lasting failure."""
    # -D again, in the server's command line, where `_serves` finds it. pg_ctl passes these words
    # through a shell.
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
    # Emptied, so that errors are of this start; open, since pg_ctl would pass a path through a
    # shell.
    with cluster.log_file.open("w+", encoding="utf-8", errors="replace") as log:
        result = _pg_ctl(cluster, arguments, log)
    if result.returncode == 0:
        return
    if _postmaster(cluster) is None and socket_folder != cluster.folder:
        shutil.rmtree(socket_folder)
    if not any(phrase in result.stdout for phrase in _TRANSIENT) and _postmaster(cluster) is None:
        raise ConfigurationError(
            f"The embedded PostgreSQL does not start on {cluster.folder}:"
            f" {reason_of(result.stdout)} Repair that, or remove the folder (its data are lost),"
            " or set DATABASE_URL."
        )
    time.sleep(0.5)


def _socket_folder(cluster: Cluster) -> Path:
    """The cluster, or a temporary folder if the path is too long."""
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
    """Stop the server if it runs; failure is logged."""
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
    # Not --pgdata: pg_ctl would pass the path through a shell in double quotes, which expand $
    # and `.
    return run_as(
        [str(cluster.programs / "pg_ctl"), *arguments],
        cluster.account,
        {"PGDATA": str(cluster.folder)},
        log,
    )
