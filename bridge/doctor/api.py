"""GET /doctor/v1/visits?since=T: what the bridge saw of the plugin. For commands on the bridge's own machine."""

from dataclasses import asdict

from flask import Blueprint, Response, jsonify, request

from bridge.auth import bearer
from bridge.config import Config
from bridge.doctor.witness import Witness
from bridge.errors import InvalidRequest, Unauthorized


def doctor_blueprint(config: Config, witness: Witness) -> Blueprint:
    """Return the blueprint that only the token in the bridge's data folder opens."""
    blueprint = Blueprint("doctor", __name__, url_prefix="/doctor/v1")

    @blueprint.before_request
    def _authorize() -> None:
        if not config.tokens.is_local(bearer(request)):
            raise Unauthorized("this is for commands on the bridge's own machine")

    @blueprint.get("/visits")
    def visits() -> Response:
        try:
            since = float(request.args.get("since", "0"))
        except ValueError:
            raise InvalidRequest("since must be a time in seconds", param="since") from None
        return jsonify({"visits": [asdict(visit) for visit in witness.visits(since)]})

    return blueprint
