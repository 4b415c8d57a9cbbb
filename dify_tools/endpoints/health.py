"""GET /health."""

from collections.abc import Mapping
from typing import Any

from dify_plugin import Endpoint  # type: ignore[import-untyped]
from werkzeug import Request, Response

from .answers import answer, refusal
from .picked import picks


class Health(Endpoint):  # type: ignore[misc]
    """Says that the plugin is there, and how many tools may be called."""

    def _invoke(self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]) -> Response:
        return refusal(r, settings) or answer({"status": "ok", "tools": len(picks(settings))})
