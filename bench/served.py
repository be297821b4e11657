"""The service, with one route more that does nothing: `python -m bench.served PORT`, with the
settings of the environment.
"""

import sys

import uvicorn
from fastapi import Response

from app.main import create_app

if __name__ == "__main__":
    app = create_app()

    @app.get("/empty")
    async def get_nothing() -> Response:
        """The least that a route of this app costs."""
        return Response()

    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_config=None,
        log_level="warning",
        access_log=False,
        loop="asyncio",
    )
