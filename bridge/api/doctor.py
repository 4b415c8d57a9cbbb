"""GET /doctor/v1/visits?since=T: what the bridge saw of the plugin. For commands on the bridge's own machine."""

from flask import Blueprint, Response, request
from pydantic import BaseModel, Field

from bridge.api.json_answer import json_answer
from bridge.api.openapi.operation import operation
from bridge.api.plugin_requests import Visit, Witness
from bridge.api.validation import checked_query


class VisitsQuery(BaseModel):
    """From when on, in seconds since the epoch."""

    since: float = Field(default=0, allow_inf_nan=False)


class Visits(BaseModel):
    """What the plugin asked, oldest first."""

    visits: list[Visit]


def doctor_blueprint(witness: Witness) -> Blueprint:
    """Return the blueprint."""
    blueprint = Blueprint("doctor", __name__, url_prefix="/doctor/v1")

    @blueprint.get("/visits")
    @operation("List what the bridge saw of the plugin.", query=VisitsQuery, answer=Visits)
    def visits() -> Response:
        return json_answer(Visits(visits=witness.visits(checked_query(VisitsQuery, request.args).since)))

    return blueprint
