"""The ASGI app, and its process.

`uvicorn --factory app.main:create_app`, or `trade-recon serve`.
"""

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable

import uvicorn
from fastapi import FastAPI

from app.composition import open_service
from app.settings.load import load_settings
from app.settings.model import Settings
from app.telemetry import configure_logging, get_logger
from app.web.app import build_app
from app.web.server import ANSWER_SECONDS, Server, open_listener, require_loopback, tune_interpreter

_log = get_logger(__name__)


def create_app(
    settings: Settings | None = None, clock: Callable[[], dt.datetime] | None = None
) -> FastAPI:
    """The app with its workers; without `settings` it reads them and logs to stderr.

    `clock` replaces the machine's. Raises ConfigurationError; its start DatabaseUnavailable.
    """
    if settings is None:
        configure_logging()
        settings = load_settings()
    chosen = settings

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tune_interpreter(chosen.recon_workers)
        async with open_service(chosen, clock) as service, service.pool.running():
            app.state.service = service
            yield

    return build_app(lifespan)


async def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then end in order; a second SIGINT ends at once.

    Raises ConfigurationError for settings or an unusable address, DatabaseUnavailable.
    """
    address = require_loopback(host, port)
    # Not in a lifespan, where our errors would end as the framework's tracebacks.
    async with open_service(settings) as service:
        with open_listener(address, port) as listener:
            app = build_app()
            app.state.service = service
            config = uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=ANSWER_SECONDS,
            )
            tune_interpreter(settings.recon_workers)
            async with service.pool.running():
                address = listener.getsockname()
                shown = f"[{address[0]}]" if ":" in address[0] else address[0]
                _log.info(
                    "trade-recon serves.", action="http.serving", url=f"http://{shown}:{address[1]}"
                )
                await Server(config, service.pool.stop).serve(sockets=[listener])
