"""Requests for one path over kept-alive connections, as fast as they go or at a rate; prints what
it saw as JSON.

A process of its own, so that the service under load has its core for itself: `python -m
bench.http_load PORT PATH ...`.
"""

import argparse
import asyncio
import json
import time

_OK = (b"HTTP/1.1 200", b"HTTP/1.1 304", b"HTTP/1.1 204")


async def _ask(port: int, request: bytes, until: float, pause: float, seconds: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due = time.perf_counter()
    while time.perf_counter() < until:
        begun = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(_OK):
            raise RuntimeError(f"The service answered {head[:40]!r}.")
        length = next(
            (
                int(line[15:])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            ),
            0,
        )
        await reader.readexactly(length)
        # From when it was due: an answer that came late must not hide those that could not be asked
        # for meanwhile.
        seconds.append(time.perf_counter() - (due if pause else begun))
        if pause:
            due += pause
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
    writer.close()


async def main(
    port: int, path: str, connections: int, seconds: float, rate: float, tag: str
) -> None:
    """Ask for `seconds`, `rate` times a second in all (0: as fast as it goes), and print."""
    header = f"If-None-Match: {tag}\r\n" if tag else ""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n".encode()
    taken: list[float] = []
    begun = time.perf_counter()
    pause = connections / rate if rate else 0.0
    await asyncio.gather(
        *(_ask(port, request, begun + seconds, pause, taken) for _ in range(connections))
    )
    taken.sort()
    figures = {"rate": len(taken) / (time.perf_counter() - begun)}
    figures |= {
        f"p{part}": taken[min(len(taken) - 1, len(taken) * part // 100)] * 1000 for part in (50, 99)
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument(
        "--rate",
        type=float,
        default=0,
        help="requests a second of all connections together; 0: as fast as they go",
    )
    parser.add_argument("--tag", default="", help="sent as If-None-Match")
    chosen = parser.parse_args()
    asyncio.run(
        main(chosen.port, chosen.path, chosen.connections, chosen.seconds, chosen.rate, chosen.tag)
    )
