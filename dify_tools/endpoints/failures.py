"""What Dify's errors say, as a model can use it.

Dify hands every failure to a plugin as one text: `invoke tool failed: ...` where the tool was not found or refused,
`read tool response failed: ...` where it ran, with the answer of an inner service or the tool's own words inside.
"""

import json
import re

_PREFIX = re.compile(r"^(invoke tool failed|read tool response failed): ")
_REQUEST = re.compile(r"^request failed(?: with status code: (?P<status>\d+) and respond with)?: ")
_PARAMETERS = re.compile(
    r"(missing|required|invalid|unexpected|unknown|wrong) .{0,40}(parameter|argument|input|field)"
    r"|(parameter|argument|field)s? .{0,60}(required|missing|invalid|must)"
    r"|is required|validation error",
    re.IGNORECASE,
)
_NOT_FOUND = re.compile(r"(tool|provider|workflow) .{0,200}not found|not found .{0,40}(tool|provider)", re.IGNORECASE)
_TIMEOUT = re.compile(r"timed? ?out|without response after|deadline exceeded|killed by timeout", re.IGNORECASE)


def failure(text: str) -> dict[str, str]:
    """Return the `error` of a call: its type, and a message in the tool's own words where there are any."""
    stage = _PREFIX.match(text)
    said = _PREFIX.sub("", text)
    request = _REQUEST.match(said)
    said = _message(_REQUEST.sub("", said))
    return {"type": _type(said, resolving=bool(stage and stage[1].startswith("invoke"))), "message": _helpful(said)} | (
        {"status": request["status"]} if request and request["status"] else {}
    )


def _type(said: str, *, resolving: bool) -> str:
    if "permission denied" in said:
        return "not_permitted"
    if _TIMEOUT.search(said):
        return "timeout"
    if _NOT_FOUND.search(said):
        return "tool_not_found"
    if _PARAMETERS.search(said):
        return "invalid_parameters"
    if "Internal Server Error" in said or resolving:
        return "dify_failed"
    return "tool_failed"


def _message(said: str) -> str:
    """Return the message of an answer of Dify's own, or the text as it is."""
    try:
        body = json.loads(said)
    except ValueError:
        return said
    return str(body["message"]) if isinstance(body, dict) and body.get("message") else said


def _helpful(said: str) -> str:
    if said.strip().startswith("Internal Server Error"):
        return (
            "Dify failed and does not say why. The tool's provider may be gone or have no credentials: "
            "see the tool in Dify, and pick it again in the endpoint's settings"
        )
    return said.strip() or "the tool failed and does not say why"
