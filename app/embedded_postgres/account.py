"""The server's account, and programs run as it."""

import os
import pwd
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from app.errors import ConfigurationError

_ROOT_HOME = Path("/var/lib/trade-recon")
MODE_SEARCH = 0o011
_MODE_PRIVATE_ENTRY = 0o711


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged account of a server started by root."""

    uid: int
    gid: int


def account_for(home: Path) -> Account | None:
    """The account for a server in `home`; None: ours, not root."""
    if os.geteuid() != 0:
        return None
    for folder in (home / "elsewhere" / "postgresql", home / "postgresql"):
        if folder.exists() and folder.stat().st_uid != 0:
            return Account(
                folder.stat().st_uid, folder.stat().st_gid
            )  # PostgreSQL serves a cluster only to its owner
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise ConfigurationError(
        "PostgreSQL does not run as root, and this machine has neither the account postgres nor"
        " nobody: start trade-recon as an ordinary user, or set DATABASE_URL."
    )


def home_for_root(pointer: Path) -> Path:
    """A data folder for other accounts; `pointer` links to it."""
    _ROOT_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="cluster-", dir=_ROOT_HOME))
    home.chmod(_MODE_PRIVATE_ENTRY)
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(home)
    return home


def may_enter(account: Account, folder: Path) -> bool:
    """Whether the kernel lets the account enter the folder."""
    return run_as(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)], account).returncode == 0


def run_as(
    command: Sequence[str],
    account: Account | None,
    variables: Mapping[str, str] | None = None,
    log: TextIO | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program as the account; output goes to `log` and `stdout`."""
    # PGPORT and the like would move the server; `_TRANSIENT` needs LC_ALL=C.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"LC_ALL": "C", "TZ": "UTC", **(variables or {})}
    # Not a pipe: the server inherits the stream, so a pipe would not end before the server.
    with (
        nullcontext(log)
        if log
        else tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
    ) as output:
        # A new session, so that Ctrl-C reaches trade-recon alone, which stops the server in order.
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


def reason_of(text: str) -> str:
    """A program's fatal lines, else its last, as one line."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return " / ".join([line for line in lines if "FATAL" in line or "PANIC" in line] or lines[-4:])
