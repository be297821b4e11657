"""`python -m tools.schema` writes db/schema.sql (`make schema`)."""

import asyncio
import tempfile
from pathlib import Path

from app.embedded_postgres.server import EmbeddedPostgres
from app.store.schema.migrations.migrate import migrate
from tools.schema.dump import dump_schema

_FILE = Path(__file__).parents[2] / "db" / "schema.sql"


async def _write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = await EmbeddedPostgres.start(Path(folder))
        try:
            await migrate(server.dsn())
            _FILE.write_text(dump_schema(server.dsn()), encoding="utf-8")
        finally:
            await server.stop()


asyncio.run(_write())
