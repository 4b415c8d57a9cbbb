"""A run's inputs: only what the start node declares gets in.

Source: core/app/apps/base_app_generator.py (_prepare_user_inputs, _validate_inputs). The texts are Dify's.
Differs from Dify: file inputs are refused when present, since the box takes no uploads.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

TEXTS = ("text-input", "select", "paragraph")
FILES = ("file", "file-list")


class Variable(BaseModel):
    """An input variable of a start node."""

    model_config = ConfigDict(extra="ignore")

    variable: str
    type: str = "text-input"
    label: str = ""
    required: bool = False
    default: Any = None
    max_length: int | None = None
    options: list[str] = Field(default_factory=list)


def prepare_inputs(given: Mapping[str, Any], variables: Sequence[Variable]) -> dict[str, Any]:
    """The declared variables' values; undeclared ones are dropped. Raises ValueError for a value that does not fit."""
    return {each.variable: _clean(_checked(given.get(each.variable), each)) for each in variables}


def user_input_form(variables: Sequence[Variable]) -> list[dict[str, Any]]:
    """The form of `GET /v1/parameters`: one object per variable, keyed by its type."""
    return [{each.type: each.model_dump(exclude={"type"})} for each in variables]


def _clean(value: Any) -> Any:
    return value.replace("\x00", "") if isinstance(value, str) else value


def _checked(value: Any, variable: Variable) -> Any:
    if value is None:
        if variable.required:
            raise ValueError(f"{variable.variable} is required in input form")
        value = variable.default
    if value is None:
        return None
    if variable.type in TEXTS:
        return _text(value, variable)
    if variable.type == "number":
        return _number(value, variable)
    if variable.type == "checkbox":
        return _checkbox(value)
    if variable.type == "json_object" and value and not isinstance(value, dict):
        raise ValueError(f"{variable.variable} in input form must be a dict")
    if variable.type in FILES and value:
        raise ValueError(f"{variable.variable} in input form must be a file")
    return value


def _text(value: Any, variable: Variable) -> str:
    name = f"{variable.variable} in input form"
    if not isinstance(value, str):
        raise ValueError(f"(type '{variable.type}') {name} must be a string")
    if variable.type == "select" and value not in variable.options:
        raise ValueError(f"{name} must be one of the following: {variable.options}")
    if variable.type != "select" and variable.max_length and len(value) > variable.max_length:
        raise ValueError(f"{name} must be less than {variable.max_length} characters")
    return value


def _number(value: Any, variable: Variable) -> Any:
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return float(value) if "." in value else int(value)
    except ValueError:
        raise ValueError(f"{variable.variable} in input form must be a valid number") from None


def _checkbox(value: Any) -> Any:
    match value:
        case str() if value.strip().lower() in ("true", "1", "yes", "on"):
            return True
        case str() if value.strip().lower() in ("false", "0", "no", "off"):
            return False
        case int() | float() if value in (0, 1):
            return bool(value)
    return value
