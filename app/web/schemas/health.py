"""Liveness and readiness over HTTP."""

from typing import Literal

from pydantic import BaseModel


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The process can work."""

    status: Literal["ready"] = "ready"
