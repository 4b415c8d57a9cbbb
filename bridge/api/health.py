"""Whether the bridge lives, and whether it takes work: for whoever starts it and routes requests to it.

GET /healthz   200 as long as the process answers at all
GET /readyz    200 when it takes new work; 503 while its store cannot be written, and once it was told to stop
"""

import threading
from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel

from bridge.api.bodies import json_answer
from bridge.api.openapi.operation import operation
from bridge.store.faults import RETRY_SECONDS, StoreUnavailable
from bridge.store.store import Store


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether new work is taken, or why it is not."""

    status: Literal["ready", "stopping", "store"]


def health_blueprint(store: Store, stopping: threading.Event) -> Blueprint:
    """Return the blueprint, which asks for no token and tells nothing else."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    @operation("Ask whether the process lives.", answer=Alive)
    def healthz() -> Response:
        return json_answer(Alive())

    @blueprint.get("/readyz")
    @operation("Ask whether new work is taken; 503 where it is not.", answer=Readiness, statuses=(200, 503))
    def readyz() -> Response:
        readiness = _readiness(store, stopping)
        if readiness.status == "ready":
            return json_answer(readiness)
        answer = json_answer(readiness, 503)
        answer.headers["Retry-After"] = f"{RETRY_SECONDS:.0f}"
        return answer

    return blueprint


def _readiness(store: Store, stopping: threading.Event) -> Readiness:
    if stopping.is_set():
        return Readiness(status="stopping")
    try:
        store.probe()
    except StoreUnavailable:
        return Readiness(status="store")
    return Readiness(status="ready")
