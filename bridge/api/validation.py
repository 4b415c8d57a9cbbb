"""Checks a body or a query, and names what is wrong as OpenAI does: the path of the first wrong field as `param`."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from bridge.errors import InvalidRequest
from bridge.runs.breath import breathe


def checked[Model: BaseModel](model: type[Model], body: object) -> Model:
    """Return `body` as a `model`; a number is no text here, and a text no number.

    Raises InvalidRequest whose `param` is the path of the first field that is wrong.
    """
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    return _checked(model, body, strict=True)


def checked_query[Model: BaseModel](model: type[Model], query: Mapping[str, str]) -> Model:
    """Return a query as a `model`. Raises InvalidRequest whose `param` is the first parameter that is wrong."""
    return _checked(model, dict(query), strict=False)


def _checked[Model: BaseModel](model: type[Model], values: dict[str, Any], *, strict: bool) -> Model:
    breathe()
    try:
        return model.model_validate(values, strict=strict)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        param = path_of(problem["loc"], problem["type"], values)
        message = problem["msg"].removeprefix("Value error, ")
        raise InvalidRequest(f"{param}: {message}" if param else message, param=param or None) from None


def path_of(location: Sequence[str | int], kind: str, body: Any) -> str:
    """Return a field's path as OpenAI writes it, `messages[0].content`.

    Pydantic's location also names the branches of unions; what does not lead further into `body` is such a name.
    """
    path, value = "", body
    for position, step in enumerate(location):
        missing = kind == "missing" and position == len(location) - 1
        if isinstance(step, int) and isinstance(value, list) and step < len(value):
            path, value = f"{path}[{step}]", value[step]
        elif isinstance(step, str) and isinstance(value, Mapping) and (step in value or missing):
            path, value = f"{path}.{step}" if path else step, value.get(step)
    if kind.startswith("union_tag_") and isinstance(value, Mapping):
        tag = "role" if "role" in value or "type" not in value else "type"
        path = f"{path}.{tag}" if path else tag
    return path
