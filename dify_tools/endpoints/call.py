"""POST /call."""

import json
from collections.abc import Mapping
from typing import Any

from dify_plugin import Endpoint  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolProviderType  # type: ignore[import-untyped]
from werkzeug import Request, Response

from .answers import CALL_SECONDS, answer, error, refusal
from .failures import failure
from .messages import collected
from .picked import TYPES, Pick, find
from .remembered import KeyReused, Remembered

REMEMBERED = Remembered(wait_seconds=CALL_SECONDS)


class Call(Endpoint):  # type: ignore[misc]
    """Runs one picked tool."""

    def _invoke(self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]) -> Response:
        if refused := refusal(r, settings):
            return refused
        asked: Any = r.get_json(silent=True)
        if problem := _problem(asked):
            return error(400, "invalid_request", problem)
        pick = find(settings, asked["type"], asked["provider"], asked["tool"])
        if pick is None:
            name = f"{asked['type']} tool {asked['provider']}/{asked['tool']}"
            return error(403, "not_picked", f"{name} is not among the tools that the endpoint's settings pick")
        parameters = asked.get("parameters") or {}
        digest = json.dumps([asked["type"], asked["provider"], asked["tool"], parameters], sort_keys=True)
        try:
            return answer(REMEMBERED.once(asked.get("key"), digest, lambda: self._run(pick, parameters)))
        except KeyReused as reused:
            return error(409, "key_reused", str(reused))

    def _run(self, pick: Pick, parameters: Mapping[str, Any]) -> dict[str, Any]:
        try:
            messages = self.session.tool.invoke(
                ToolProviderType(pick.type),
                pick.provider,
                pick.tool,
                {**parameters, **pick.fixed},
                pick.credential_id,
            )
            return collected(messages)
        except Exception as raised:  # The SDK raises nothing more exact: see failures.
            return {"error": failure(str(raised))}


def _problem(asked: Any) -> str | None:
    """Return what is wrong with a body."""
    if not isinstance(asked, dict):
        return "the body must be a JSON object"
    for name in ("type", "provider", "tool"):
        if not isinstance(asked.get(name), str) or not asked[name]:
            return f"{name} must be a string that is not empty"
    if asked["type"] not in TYPES:
        return f"type must be one of {', '.join(TYPES)}; a plugin's tools are builtin"
    if not isinstance(asked.get("parameters") or {}, dict):
        return "parameters must be an object"
    if not isinstance(asked.get("key") or "", str):
        return "key must be a string"
    return None
