"""Every benchmark on a warehouse of a chosen size and a tenth of it: `make bench`.

The warehouses are made by SQL in `--folder` and stay there; an interrupted one goes on. Each part
prints its figures when it is done.
"""

import argparse
import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from app.telemetry import configure_logging
from bench import accounts as named
from bench import apply, claims, detection, memory, nights, report, requests, undo
from bench.contender import NothingToCompareError
from bench.table import Ratio, machine, render, show
from bench.warehouse import ensure_warehouse
from bench.world import FILLED

_REQUESTS_ACCOUNTS = 1500
"""The sandbox's world is made in Python: it does not grow further."""
_PAGES, _ROUNDS = 60, 3
_TRADES, _CROWD = 1_000_000, 100_000
"""Trades of one account and accounts of one run by which memory is judged; a tenth fills all
batches.
"""
_PARTS = (
    "detection",
    "report",
    "apply",
    "undo",
    "memory",
    "claims",
    "requests",
    "accounts",
    "nights",
)
_UNDONE = 20_000
"""Rows of the runs that are undone."""


@dataclass(frozen=True, slots=True)
class Size:
    """A warehouse to measure on: so many accounts, behind this DSN, with every `filled`-th column
    filled.
    """

    accounts: int
    dsn: str
    filled: int


async def _measure(part: str, size: Size) -> list[Ratio]:
    """One part on one warehouse. Raises NothingToCompareError where claims have no counterpart."""
    match part:
        case "detection":
            return await detection.measure(size.dsn, size.accounts)
        case "report":
            return await report.measure(size.dsn, size.accounts)
        case "nights":
            return await nights.measure(size.dsn, size.accounts, filled=size.filled)
        case _:
            # They make what they measure on. What a page, a row or an account by name costs does not
            # depend on how many accounts there are.
            alone: dict[str, Callable[[], Awaitable[list[Ratio]]]] = {
                "memory": lambda: memory.measure(_TRADES, max(size.accounts, _CROWD)),
                "claims": lambda: claims.measure(size.accounts, _ROUNDS),
                "requests": lambda: requests.measure(min(size.accounts, _REQUESTS_ACCOUNTS)),
                "apply": lambda: apply.measure(_PAGES, _ROUNDS),
                "undo": lambda: undo.measure(_UNDONE),
                "accounts": named.measure,
            }
            return await alone[part]()


async def main(accounts: int, folder: Path, filled: int, parts: Sequence[str]) -> bool:
    """Measure and print; whether every target was met."""
    columns: dict[str, list[Ratio]] = defaultdict(list)
    async with detection.server(folder) as server:
        # The smaller one first: what is wrong shows early.
        sizes = [
            Size(count, await ensure_warehouse(server.dsn(), count, filled), filled)
            for count in (accounts // 10, accounts)
        ]
        connection = await asyncpg.connect(sizes[0].dsn)
        facts = machine(await connection.fetchval("SHOW server_version"))
        await connection.close()
        for part in parts:
            # These know their own sizes.
            for size in (
                sizes[-1:] if part in ("apply", "undo", "memory", "requests", "accounts") else sizes
            ):
                print(f"\n{part}, {size.accounts:,} accounts", flush=True)
                try:
                    found = await _measure(part, size)
                except NothingToCompareError as error:
                    print(error)
                    continue
                columns[f"{size.accounts:,} accounts"] += found
                for line in found:
                    print(show(line), flush=True)
    print(f"\n{facts}\n\n{render(columns)}")
    return all(line.is_met is not False for rows in columns.values() for line in rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--accounts", type=int, default=20_000, help="accounts of the larger warehouse (20,000)"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(".bench"), help="where the warehouses are kept (.bench)"
    )
    parser.add_argument(
        "--filled",
        type=int,
        default=FILLED,
        help=f"every which column without meaning is filled ({FILLED}); 100 for half the disk",
    )
    parser.add_argument(
        "--only", choices=_PARTS, nargs="+", default=_PARTS, help="the parts to measure (all)"
    )
    chosen = parser.parse_args()
    configure_logging(level="WARNING")
    raise SystemExit(
        not asyncio.run(main(chosen.accounts, chosen.folder, chosen.filled, chosen.only))
    )
