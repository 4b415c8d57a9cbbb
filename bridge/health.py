"""Whether the bridge lives, and whether it takes work: for whoever starts it and routes requests to it.

GET /healthz   200 as long as the process answers at all
GET /readyz    200 when it takes new work; 503 while its store does not answer, and once it was told to stop
"""

import logging
import threading

from flask import Blueprint, Response, jsonify

from bridge.store import Store

log = logging.getLogger("clawback.health")


def health_blueprint(store: Store, stopping: threading.Event) -> Blueprint:
    """Return the blueprint, which asks for no token and tells nothing else."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    def healthz() -> Response:
        return jsonify({"status": "ok"})

    @blueprint.get("/readyz")
    def readyz() -> Response:
        status = _status(store, stopping)
        response = jsonify({"status": status})
        response.status_code = 200 if status == "ready" else 503
        return response

    return blueprint


def _status(store: Store, stopping: threading.Event) -> str:
    if stopping.is_set():
        return "stopping"
    try:
        store.run("")
    except Exception:
        log.exception("the store does not answer")
        return "store"
    return "ready"
