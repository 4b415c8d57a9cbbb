"""Checks the arguments of a call against the tool's schema; types are mended where only one meaning is possible.

A text that is exactly a number becomes that number where a number is due, `"true"` a boolean, a whole float an integer,
a text of JSON the object or array that is due; a null for a property that may be left out is left out. Everything else
that does not fit is a problem, told in words that a model can act on.
"""

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tools.calls import arguments_problem
from tools.json_repair import repaired

DEEPEST = 60
MOST_PROBLEMS = 8
LONGEST_MATCHED = 10_000
"""A longer text is not held against a pattern, which could take for ever."""

_NUMBER = re.compile(r"^-?\d{1,15}(\.\d{1,15})?([eE][+-]?\d{1,2})?$")

_BOUNDS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "minimum": (operator.ge, "at least"),
    "maximum": (operator.le, "at most"),
    "exclusiveMinimum": (operator.gt, "more than"),
    "exclusiveMaximum": (operator.lt, "less than"),
}


@dataclass(frozen=True, slots=True)
class Checked:
    """The arguments as they should reach the tool, or the `problem` that the model has to mend."""

    arguments: str
    problem: str | None = None


class _Misfit(Exception):
    """The value does not fit; the texts say where and why."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def checked(arguments: str, parameters: Mapping[str, Any] | None) -> Checked:
    """Check a call's arguments, JSON text, against the schema of its tool."""
    value = repaired(arguments)
    if not isinstance(value, dict):
        return Checked(arguments, arguments_problem(arguments) or "the arguments must be a JSON object")
    try:
        mended = _fit(value, parameters or {}, "", parameters or {}, 0)
    except _Misfit as misfit:
        told = "; ".join(misfit.problems[:MOST_PROBLEMS])
        return Checked(arguments, f"the arguments do not fit the tool's schema: {told}")
    same = mended == value and _reads_as(arguments, value)
    return Checked(arguments if same else json.dumps(mended, ensure_ascii=False))


def _reads_as(arguments: str, value: object) -> bool:
    try:
        return bool(json.loads(arguments) == value)
    except (ValueError, RecursionError):
        return False


def _fit(value: Any, schema: Any, where: str, root: Mapping[str, Any], depth: int) -> Any:
    """Return the value as it fits the schema. Raises _Misfit."""
    if schema is False:
        raise _Misfit(f"{_at(where)} is not allowed")
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return value
    if isinstance(schema.get("$ref"), str):
        return _fit(value, _target(schema["$ref"], root), where, root, depth + 1)
    value = _of_type(value, schema, where)
    _check_values(value, schema, where)
    if isinstance(value, dict):
        value = _fit_object(value, schema, where, root, depth)
    elif isinstance(value, list):
        value = _fit_array(value, schema, where, root, depth)
    elif isinstance(value, str):
        _check_text(value, schema, where)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(value, schema, where)
    return _fit_choices(value, schema, where, root, depth)


def _target(ref: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for part in ref.removeprefix("#").split("/")[1:]:
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found


def _at(where: str) -> str:
    return where or "the whole"


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "null":
            return value is None
    return True


def _of_type(value: Any, schema: Mapping[str, Any], where: str) -> Any:
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds] if isinstance(kinds, str) else []
    if not kinds or any(_is(value, kind) for kind in kinds) or (value is None and schema.get("nullable") is True):
        return value
    for kind in kinds:
        mended = _mended(value, kind)
        if mended is not None:
            return mended
    raise _Misfit(f"{_at(where)} must be {_a(' or '.join(kinds))}, not {_a(_kind_of(value))}")


def _mended(value: Any, kind: str) -> Any:
    """Return the value as the type that is due where only one meaning is possible, or None."""
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return str(value) if kind == "string" and _is(value, "number") and math.isfinite(value) else None
    text = value.strip()
    if kind in {"integer", "number"} and _NUMBER.match(text):
        number = json.loads(text) if re.match(r"^-?(0|[1-9])", text) and not re.match(r"^-?0\d", text) else None
        return _mended(number, kind) if kind == "integer" and isinstance(number, float) else number
    if kind == "boolean" and text in {"true", "false", "True", "False"}:
        return text.lower() == "true"
    if (kind == "object" and text.startswith("{")) or (kind == "array" and text.startswith("[")):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return found if _is(found, kind) else None
    return None


def _kind_of(value: Any) -> str:
    kinds = ("null", "boolean", "integer", "number", "string", "array", "object")
    return next(kind for kind in kinds if _is(value, kind))


def _a(kind: str) -> str:
    return kind if kind == "null" else f"{'an' if kind[0] in 'aio' else 'a'} {kind}"


def _check_values(value: Any, schema: Mapping[str, Any], where: str) -> None:
    allowed = schema.get("enum")
    if isinstance(allowed, list) and not any(_same(value, each) for each in allowed):
        raise _Misfit(f"{_at(where)} must be one of {json.dumps(allowed, ensure_ascii=False)[:300]}")
    if "const" in schema and not _same(value, schema["const"]):
        raise _Misfit(f"{_at(where)} must be {json.dumps(schema['const'], ensure_ascii=False)[:300]}")


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _fit_object(
    value: dict[str, Any], schema: Mapping[str, Any], where: str, root: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
    problems = [f"{_join(where, name)} is required" for name in required if name not in value]
    fitted: dict[str, Any] = {}
    for name, inner in value.items():
        rule = properties.get(name, _rule_of_other(name, schema))
        if rule is False and name not in properties:
            known = ", ".join(map(str, properties)) or "none"
            problems.append(f"there is no {_join(where, name)} (there are: {known})")
            continue
        try:
            fitted[name] = _fit(inner, rule, _join(where, name), root, depth + 1)
        except _Misfit as misfit:
            if inner is None and name not in required:
                continue
            problems.extend(misfit.problems)
    if problems:
        raise _Misfit(*problems)
    return fitted


def _rule_of_other(name: str, schema: Mapping[str, Any]) -> Any:
    patterns = schema.get("patternProperties")
    for pattern, rule in patterns.items() if isinstance(patterns, Mapping) else ():
        if _matches(pattern, name):
            return rule
    return schema.get("additionalProperties", True)


def _fit_array(
    value: list[Any], schema: Mapping[str, Any], where: str, root: Mapping[str, Any], depth: int
) -> list[Any]:
    _check_count(len(value), schema, "Items", where, "items")
    first = _list(schema.get("prefixItems")) or _list(schema.get("items"))
    rest = schema.get("items") if not isinstance(schema.get("items"), list) else schema.get("additionalItems", True)
    fitted: list[Any] = []
    problems: list[str] = []
    for number, inner in enumerate(value):
        rule = first[number] if number < len(first) else rest
        try:
            fitted.append(_fit(inner, rule, f"{where}[{number}]", root, depth + 1))
        except _Misfit as misfit:
            problems.extend(misfit.problems)
    if problems:
        raise _Misfit(*problems)
    if schema.get("uniqueItems") is True and any(_same(a, b) for i, a in enumerate(fitted) for b in fitted[:i]):
        raise _Misfit(f"{_at(where)} must not hold the same item twice")
    return fitted


def _check_text(value: str, schema: Mapping[str, Any], where: str) -> None:
    _check_count(len(value), schema, "Length", where, "characters")
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and len(value) <= LONGEST_MATCHED and not _matches(pattern, value):
        raise _Misfit(f"{_at(where)} must match {pattern}")


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except (re.error, RecursionError, OverflowError):
        return True


def _check_count(count: int, schema: Mapping[str, Any], word: str, where: str, what: str) -> None:
    least, most = schema.get(f"min{word}"), schema.get(f"max{word}")
    if isinstance(least, int) and count < least:
        raise _Misfit(f"{_at(where)} must have at least {least} {what}")
    if isinstance(most, int) and count > most:
        raise _Misfit(f"{_at(where)} must have at most {most} {what}")


def _check_number(value: float, schema: Mapping[str, Any], where: str) -> None:
    for word, (fits, told) in _BOUNDS.items():
        limit = schema.get(word)
        if isinstance(limit, int | float) and not isinstance(limit, bool) and not fits(value, limit):
            raise _Misfit(f"{_at(where)} must be {told} {limit:g}")
    step = schema.get("multipleOf")
    if isinstance(step, int) and not isinstance(step, bool) and step > 0 and value % step:
        raise _Misfit(f"{_at(where)} must be a multiple of {step}")


def _fit_choices(value: Any, schema: Mapping[str, Any], where: str, root: Mapping[str, Any], depth: int) -> Any:
    for inner in _list(schema.get("allOf")):
        value = _fit(value, inner, where, root, depth + 1)
    for word in ("anyOf", "oneOf"):
        branches = _list(schema.get(word))
        if branches:
            value = _fit_any(value, branches, where, root, depth)
    return value


def _fit_any(value: Any, branches: list[Any], where: str, root: Mapping[str, Any], depth: int) -> Any:
    """Return the value as it fits one of the branches; one that it fits as it stands comes before one that mends it."""
    fitting: list[Any] = []
    problems: list[str] = []
    for branch in branches:
        try:
            fitted = _fit(value, branch, where, root, depth + 1)
        except _Misfit as misfit:
            problems.extend(misfit.problems)
            continue
        if fitted == value:
            return value
        fitting.append(fitted)
    if not fitting:
        raise _Misfit(" or ".join(dict.fromkeys(problems)))
    return fitting[0]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
