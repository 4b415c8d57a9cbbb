"""GET /openapi.json: the document, for everyone; it tells nothing of this bridge's apps or tokens."""

import json
from functools import cache
from typing import Any

from flask import Blueprint, Response, current_app

from bridge.api.openapi.document import document
from bridge.api.openapi.operation import operation


def openapi_blueprint() -> Blueprint:
    """Return the blueprint, which asks for no token."""
    blueprint = Blueprint("openapi", __name__)

    @cache
    def written() -> str:
        return json.dumps(document(current_app), ensure_ascii=False)

    @blueprint.get("/openapi.json")
    @operation("Describe all routes of the bridge.", answer=dict[str, Any])
    def openapi() -> Response:
        return Response(written(), content_type="application/json")

    return blueprint
