"""GET /tools."""

from collections.abc import Mapping
from typing import Any

from dify_plugin import Endpoint  # type: ignore[import-untyped]
from werkzeug import Request, Response

from .answers import CALL_SECONDS, TOTAL_SECONDS, answer, refusal
from .picked import picks


class Tools(Endpoint):  # type: ignore[misc]
    """Lists what is picked, with all that the setting knows."""

    def _invoke(self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]) -> Response:
        limits = {"call_seconds": CALL_SECONDS, "total_seconds": TOTAL_SECONDS}
        return refusal(r, settings) or answer({"tools": [pick.entry for pick in picks(settings)], "limits": limits})
