"""Approve, deny, edit: what a person decides about a call."""

import json
from typing import Any

from bridge.errors import InvalidRequest
from bridge.runs.tickets.approvals import Approvals
from tools.json_depth import DEEPEST, is_too_deep

DEFAULT_REASON = "A person does not want it to be run."
LONGEST_REASON = 2000


def decide(approvals: Approvals, call_id: str, decision: str, text: str, who: str) -> None:
    """Carry out a decision: `text` is the reason of a denial, the new arguments of an edit.

    Raises InvalidRequest, NotFound, Conflict (it was decided otherwise), Gone.
    """
    match decision:
        case "approve":
            approvals.approve(call_id, who)
        case "edit":
            approvals.approve(call_id, who, _arguments(text))
        case "deny":
            approvals.deny(call_id, who, text.strip()[:LONGEST_REASON] or DEFAULT_REASON)
        case _:
            raise InvalidRequest("decision must be approve, edit or deny", param="decision")


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"the arguments are not valid JSON: {error.msg} ({where})", param="arguments") from None
    except (ValueError, RecursionError):
        raise InvalidRequest(
            "the arguments are not valid JSON: too large, or nested too deeply", param="arguments"
        ) from None
    if is_too_deep(arguments):
        raise InvalidRequest(f"the arguments are nested deeper than {DEEPEST} levels", param="arguments")
    if not isinstance(arguments, dict):
        raise InvalidRequest('the arguments must be a JSON object: {"name": value}', param="arguments")
    return arguments
