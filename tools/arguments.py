"""Checks the arguments of a call against the tool's schema; types are mended where only one meaning is possible.

A text that is exactly a number becomes that number where a number is due, `"true"` a boolean, a whole float an integer,
a text of JSON the object or array that is due; a null for a property that may be left out is left out. Everything else
that does not fit is a problem, told in words that a model can act on. How far that goes: tools.schema_walk.
"""

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from tools.calls import arguments_problem
from tools.json_repair import repaired
from tools.schema_walk import DEEPEST, MOST_STEPS, Walk, size_of

MOST_PROBLEMS = 8

_NUMBER = re.compile(r"^-?\d{1,15}(\.\d{1,15})?([eE][+-]?\d{1,2})?$")
_MOST_KINDS = 16
_MOST_SHOWN = 40
_SHOWN_CHARACTERS = 300
_NAME_CHARACTERS = 60

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


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the arguments a value stands: under a name or at a number, inside another."""

    outer: "_Place | None"
    key: str | int

    def __str__(self) -> str:
        keys: list[str | int] = []
        place: _Place | None = self
        while place:
            keys.append(place.key)
            place = place.outer
        texts = (f"[{key}]" if isinstance(key, int) else f".{key[:_NAME_CHARACTERS]}" for key in reversed(keys))
        return "".join(texts).removeprefix(".")


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is wrong at a place. `told` is given the place; it is asked only where the problem is told."""

    where: _Place | None
    told: Callable[[str], str]

    def __str__(self) -> str:
        return self.told(str(self.where or "the whole"))


_Alternatives = tuple[_Problem, ...]
"""What would have to be mended: one of these."""


class _Misfit(Exception):
    """The value does not fit; all of `problems` say where and why."""

    def __init__(self, problems: Iterable[_Alternatives]) -> None:
        super().__init__()
        self.problems = list(islice(problems, MOST_PROBLEMS))

    def __str__(self) -> str:
        return "; ".join(" or ".join(dict.fromkeys(map(str, each))) for each in self.problems)


def _misfit(where: _Place | None, told: Callable[[str], str]) -> _Misfit:
    return _Misfit([(_Problem(where, told),)])


def checked(arguments: str, parameters: Mapping[str, Any] | None) -> Checked:
    """Check a call's arguments, JSON text, against the schema of its tool."""
    value = repaired(arguments)
    if not isinstance(value, dict):
        return Checked(arguments, arguments_problem(arguments) or "the arguments must be a JSON object")
    try:
        mended = _Fitting(Walk(parameters or {})).fit(value, parameters or {}, None, 0)
        same = mended is value and _reads_as(arguments, value)
        return Checked(arguments if same else json.dumps(mended, ensure_ascii=False, allow_nan=False))
    except ValueError:  # a number beyond all that JSON's readers hold
        return Checked(arguments, arguments_problem(arguments))
    except _Misfit as misfit:
        return Checked(arguments, f"the arguments do not fit the tool's schema: {misfit}")
    except RecursionError:
        return Checked(arguments, "the arguments are nested too deeply")


def _reads_as(arguments: str, value: object) -> bool:
    try:
        return bool(json.loads(arguments) == value)
    except (ValueError, RecursionError):
        return False


class _Fitting:
    """Holds a value against a schema. Every method returns the value as it fits, itself where nothing was mended."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk

    def fit(self, value: Any, schema: Any, where: _Place | None, depth: int) -> Any:
        """Return the value as it fits the schema. Raises _Misfit."""
        if schema is False:
            raise _misfit(where, lambda at: f"{at} is not allowed")
        if not isinstance(schema, Mapping) or depth > DEEPEST or not self._walk.goes_on():
            return value
        if isinstance(schema.get("$ref"), str):
            return self.fit(value, self._walk.target(schema["$ref"]), where, depth + 1)
        value = self._of_type(value, schema, where)
        self._check_values(value, schema, where)
        if isinstance(value, dict):
            value = self._fit_object(value, schema, where, depth)
        elif isinstance(value, list):
            value = self._fit_array(value, schema, where, depth)
        elif isinstance(value, str):
            self._check_text(value, schema, where)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(value, schema, where)
        return self._fit_choices(value, schema, where, depth)

    def _of_type(self, value: Any, schema: Mapping[str, Any], where: _Place | None) -> Any:
        kinds = schema.get("type")
        kinds = kinds[:_MOST_KINDS] if isinstance(kinds, list) else [kinds] if isinstance(kinds, str) else []
        if not kinds or any(_is(value, kind) for kind in kinds) or (value is None and schema.get("nullable") is True):
            return value
        if isinstance(value, str) and not self._walk.affords(len(kinds) * len(value) // 100):
            return value
        for kind in kinds:
            mended = _mended(value, kind)
            if mended is not None:
                return mended
        raise _misfit(where, lambda at: f"{at} must be {_a(' or '.join(kinds))}, not {_a(_kind_of(value))}")

    def _check_values(self, value: Any, schema: Mapping[str, Any], where: _Place | None) -> None:
        allowed = schema.get("enum")
        compared = isinstance(allowed, list) and self._walk.affords_comparing(value, len(allowed))
        if compared and not any(_same(value, each) for each in _list(allowed)):
            raise _misfit(where, lambda at: f"{at} must be one of {_json(allowed)}")
        if "const" in schema and self._walk.affords_comparing(value, 1) and not _same(value, schema["const"]):
            raise _misfit(where, lambda at: f"{at} must be {_json(schema['const'])}")

    def _fit_object(
        self, value: dict[str, Any], schema: Mapping[str, Any], where: _Place | None, depth: int
    ) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        required = _list(schema.get("required"))
        required = required if self._walk.affords(len(required) // 4) else []
        needed = dict.fromkeys(name for name in required if isinstance(name, str))
        missing = islice((name for name in needed if name not in value), MOST_PROBLEMS)
        problems: list[_Alternatives] = [
            (_Problem(_Place(where, name), lambda at: f"{at} is required"),) for name in missing
        ]
        changed: dict[str, Any] = {}
        gone: set[str] = set()
        for name, inner in value.items():
            if not self._walk.goes_on():
                break
            rule = properties[name] if name in properties else self._rule_of_other(name, schema)
            place = _Place(where, name)
            if rule is False and name not in properties:
                problems.append((_Problem(place, lambda at: f"there is no {at} (there are: {_names(properties)})"),))
                continue
            try:
                fitted = self.fit(inner, rule, place, depth + 1)
            except _Misfit as misfit:
                if inner is None and name not in needed:
                    gone.add(name)
                else:
                    problems.extend(misfit.problems)
                continue
            if fitted is not inner:
                changed[name] = fitted
        if problems:
            raise _Misfit(problems)
        if not (changed or gone):
            return value
        return {name: changed.get(name, inner) for name, inner in value.items() if name not in gone}

    def _rule_of_other(self, name: str, schema: Mapping[str, Any]) -> Any:
        patterns = schema.get("patternProperties")
        for pattern, rule in patterns.items() if isinstance(patterns, Mapping) else ():
            fits = self._walk.matches(str(pattern), name) if self._walk.goes_on() else None
            if fits is None:
                return True
            if fits:
                return rule
        return schema.get("additionalProperties", True)

    def _fit_array(self, value: list[Any], schema: Mapping[str, Any], where: _Place | None, depth: int) -> list[Any]:
        _check_count(len(value), schema, "Items", where, "items")
        items = schema.get("items")
        first = _list(schema.get("prefixItems")) or _list(items)
        rest = schema.get("additionalItems", True) if isinstance(items, list) else items
        changed: dict[int, Any] = {}
        problems: list[_Alternatives] = []
        for number, inner in enumerate(value):
            if not self._walk.goes_on():
                break
            rule = first[number] if number < len(first) else rest
            try:
                fitted = self.fit(inner, rule, _Place(where, number), depth + 1)
            except _Misfit as misfit:
                problems.extend(misfit.problems)
                continue
            if fitted is not inner:
                changed[number] = fitted
        if problems:
            raise _Misfit(problems)
        if changed:
            value = [changed.get(number, inner) for number, inner in enumerate(value)]
        if schema.get("uniqueItems") is True and self._walk.affords(size_of(value, MOST_STEPS)) and _repeats(value):
            raise _misfit(where, lambda at: f"{at} must not hold the same item twice")
        return value

    def _check_text(self, value: str, schema: Mapping[str, Any], where: _Place | None) -> None:
        _check_count(len(value), schema, "Length", where, "characters")
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and self._walk.matches(pattern, value) is False:
            raise _misfit(where, lambda at: f"{at} must match {pattern}")

    def _fit_choices(self, value: Any, schema: Mapping[str, Any], where: _Place | None, depth: int) -> Any:
        for inner in _list(schema.get("allOf")):
            if not self._walk.goes_on():
                break
            value = self.fit(value, inner, where, depth + 1)
        for word in ("anyOf", "oneOf"):
            branches = _list(schema.get(word))
            if branches:
                value = self._fit_any(value, branches, where, depth)
        return value

    def _fit_any(self, value: Any, branches: list[Any], where: _Place | None, depth: int) -> Any:
        """Take the first branch that the value fits as it stands, before one that mends it."""
        fitting: list[Any] = []
        problems: list[_Problem] = []
        for branch in branches:
            if not self._walk.goes_on():
                return value
            try:
                fitted = self.fit(value, branch, where, depth + 1)
            except _Misfit as misfit:
                problems.extend(problem for each in misfit.problems for problem in each)
                continue
            if fitted is value:
                return value
            fitting.append(fitted)
        if not fitting:
            raise _Misfit([tuple(problems[:MOST_PROBLEMS])])
        return fitting[0]


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


def _mended(value: Any, kind: str) -> Any:
    """Return the value as the type that is due where only one meaning is possible, or None."""
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return str(value) if kind == "string" and _is_finite(value) else None
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


def _is_finite(value: Any) -> bool:
    """Say whether a value is a number, and neither endless nor none. An integer may be larger than any float."""
    return _is(value, "integer") or (isinstance(value, float) and math.isfinite(value))


def _kind_of(value: Any) -> str:
    kinds = ("null", "boolean", "integer", "number", "string", "array", "object")
    return next(kind for kind in kinds if _is(value, kind))


def _a(kind: str) -> str:
    return kind if kind == "null" else f"{'an' if kind[0] in 'aio' else 'a'} {kind}"


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _repeats(items: list[Any]) -> bool:
    return len({_told_apart(item) for item in items}) < len(items)


def _told_apart(value: Any) -> str:
    """Return a text that two values share only where they are the same. Texts are hashed by a secret of the process."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)
    if isinstance(value, list):
        return f"[{','.join(map(_told_apart, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(name)}:{_told_apart(value[name])}' for name in sorted(value))}}}"
    return json.dumps(value)


def _check_count(count: int, schema: Mapping[str, Any], word: str, where: _Place | None, what: str) -> None:
    least: Any = schema.get(f"min{word}")
    most: Any = schema.get(f"max{word}")
    if _is(least, "integer") and count < least:
        raise _misfit(where, lambda at: f"{at} must have at least {_number_text(least)} {what}")
    if _is(most, "integer") and count > most:
        raise _misfit(where, lambda at: f"{at} must have at most {_number_text(most)} {what}")


def _check_number(value: float, schema: Mapping[str, Any], where: _Place | None) -> None:
    for word, (fits, told) in _BOUNDS.items():
        limit: Any = schema.get(word)
        if _is_finite(limit) and not fits(value, limit):
            raise _misfit(where, partial(_out_of_bounds, told, limit))
    step: Any = schema.get("multipleOf")
    if _is(step, "integer") and step > 0 and not _is_multiple(value, step):
        raise _misfit(where, lambda at: f"{at} must be a multiple of {_number_text(step)}")


def _out_of_bounds(told: str, limit: int | float, at: str) -> str:
    return f"{at} must be {told} {_number_text(limit)}"


def _is_multiple(value: int | float, step: int) -> bool:
    # An integer may be larger than any float, so that the remainder is one of integers alone.
    return value % step == 0 if isinstance(value, int) else value.is_integer() and int(value) % step == 0


def _number_text(number: int | float) -> str:
    if isinstance(number, float):
        return f"{number:g}"
    digits = int(number.bit_length() * math.log10(2))
    return str(number) if digits < 30 else f"{'-' if number < 0 else ''}1e{digits} or so"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _json(value: Any) -> str:
    """Return a value as JSON, shortened."""
    if isinstance(value, list):
        shown = ", ".join(map(_json_of_one, islice(value, _MOST_SHOWN)))
        return f"[{shown[:_SHOWN_CHARACTERS]}]"
    return _json_of_one(value)[:_SHOWN_CHARACTERS]


def _json_of_one(value: Any) -> str:
    if isinstance(value, dict | list) and size_of(value, _MOST_SHOWN) > _MOST_SHOWN:
        return "{…}" if isinstance(value, dict) else "[…]"
    if isinstance(value, int) and not isinstance(value, bool):
        return _number_text(value)
    return json.dumps(value[:_SHOWN_CHARACTERS] if isinstance(value, str) else value, ensure_ascii=False)


def _names(properties: Mapping[str, Any]) -> str:
    return ", ".join(str(name)[:_NAME_CHARACTERS] for name in islice(properties, _MOST_SHOWN)) or "none"
