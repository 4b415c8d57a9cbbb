"""Tool definitions as text: what a JSON schema says, in a fraction of its tokens."""

import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tools.openclaw_text.plain_schema import plain_schema
from tools.openclaw_text.schema_parts import (
    Schema,
    as_schema,
    function_of,
    list_of,
    number_of,
    options_of,
    properties_of,
    required_of,
    types_of,
)

_UNLIMITED = 1_000_000


def estimated_tokens(text: str) -> int:
    """Return about how many tokens `text` costs: four UTF-8 bytes each, which OpenClaw reckons with as well."""
    return (len(text.encode("utf-8", "surrogatepass")) + 3) // 4


@dataclass(frozen=True, slots=True)
class Detail:
    """How much is told: characters of a tool's and of a parameter's description, limits, optional parameters."""

    tool_chars: int = _UNLIMITED
    parameter_chars: int = _UNLIMITED
    limits: bool = True
    nested_optional: int = _UNLIMITED
    optional: int = _UNLIMITED


# From everything to names and required parameters: descriptions go before limits, limits before parameters.
_LADDER = (
    Detail(),
    *(Detail(chars, chars // 2) for chars in (2000, 1400, 1000, 720, 520, 380, 280, 200, 160, 120)),
    Detail(120, 30),
    Detail(100, 0),
    Detail(80, 0, limits=False),
    Detail(60, 0, limits=False),
    *(Detail(60, 0, limits=False, nested_optional=count) for count in (6, 3, 0)),
    *(Detail(60, 0, limits=False, nested_optional=0, optional=count) for count in (16, 12, 8, 6, 4, 3, 2, 1, 0)),
    Detail(0, 0, limits=False, nested_optional=0, optional=0),
)


@dataclass(slots=True)
class Definitions:
    """The text of the definitions, and what the budget made it leave out."""

    text: str
    shortened: list[str] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    tokens_needed: int = 0

    def warnings(self, budget_tokens: int | None) -> list[str]:
        """Say what the model is not told, and what the user can change."""
        said = []
        cure = "allow fewer tools (allowed_tools) or give the definitions a larger budget"
        within = f"to fit the tool definitions ({self.tokens_needed} tokens) into {budget_tokens} tokens; {cure}"
        if self.shortened:
            said.append(f"The descriptions of {_listed(self.shortened)} were shortened {within}.")
        if self.dropped:
            tools = [f"{tool} ({_listed(names, 4)})" for tool, names in self.dropped.items()]
            said.append(f"Optional parameters were left out {within}: {_listed(tools)}.")
        if budget_tokens is not None and estimated_tokens(self.text) > budget_tokens:
            tokens = estimated_tokens(self.text)
            said.append(f"Even their shortest form takes {tokens} tokens, more than {budget_tokens}: {cure}.")
        return said


def definitions(tools: Sequence[Schema], budget_tokens: int | None = None) -> Definitions:
    """Return the definitions of `tools` (OpenAI's form) in at most `budget_tokens`.

    Descriptions are shortened, the longest first, before optional parameters are left out. Tools and required
    parameters always stay, so that the text of very many tools may still be larger than the budget.
    """
    described = [_described(function_of(tool)) for tool in tools]
    full = _render(described, _LADDER[0])
    needed = estimated_tokens(full.text)
    if budget_tokens is None or needed <= budget_tokens:
        return full

    def fits(step: int) -> bool:
        return estimated_tokens(_render(described, _LADDER[step]).text) <= budget_tokens

    step = bisect_left(range(len(_LADDER) - 1), True, key=fits)
    found = _render(described, _LADDER[step])
    found.tokens_needed = needed
    return found


type _Described = tuple[str, str, Schema]


def _described(function: Schema) -> _Described:
    parameters = plain_schema(as_schema(function.get("parameters")))
    return str(function["name"]), str(function.get("description") or ""), parameters


def _render(tools: Sequence[_Described], detail: Detail) -> Definitions:
    found = Definitions("")
    blocks = []
    for tool in tools:
        signature = _Signature(*tool, detail)
        blocks.append(signature.text())
        if signature.shortened:
            found.shortened.append(signature.name)
        if signature.dropped:
            found.dropped[signature.name] = signature.dropped
    found.text = "\n\n".join(blocks)
    return found


class _Signature:
    """One tool as a heading, its description, and a line for each parameter."""

    def __init__(self, name: str, description: str, parameters: Schema, detail: Detail) -> None:
        self.name = name
        self.shortened = False
        self.dropped: list[str] = []
        self._detail = detail
        self._description = description
        self._parameters = parameters

    def text(self) -> str:
        """Return the whole signature."""
        description = self._shorten(self._description, self._detail.tool_chars)
        lines = [f"## {self.name}", *([description] if description else [])]
        return "\n".join([*lines, *self._property_lines(self._parameters, "", self._detail.optional)])

    def _property_lines(self, schema: Schema, indent: str, optional: int) -> Iterable[str]:
        for name, part, required in self._kept(schema, optional):
            yield from self._lines(name, part, required, indent)

    def _kept(self, schema: Schema, optional: int) -> Iterable[tuple[str, Schema, bool]]:
        """Return the properties to show: all that are required and the first `optional` of the others."""
        required, properties = dict.fromkeys(required_of(schema)), properties_of(schema)
        for name in [*properties, *(name for name in required if name not in properties)]:
            if name not in required:
                if optional <= 0:
                    self.dropped.append(name)
                    continue
                optional -= 1
            yield name, as_schema(properties.get(name)), name in required

    def _lines(self, name: str, schema: Schema, required: bool, indent: str) -> Iterable[str]:
        inner = self._described_object(schema)
        line = f"{indent}- {name}{'' if required else '?'}: {self._type(schema, spelled=inner is None)}"
        if self._detail.limits:
            line += _limits(schema)
        description = self._shorten(str(schema.get("description") or ""), self._detail.parameter_chars)
        yield f"{line}. {description}" if description else line
        if inner is not None:
            yield from self._property_lines(inner, indent + "  ", self._detail.nested_optional)

    def _described_object(self, schema: Schema) -> Schema | None:
        """Return the object inside `schema` whose properties need lines of their own, since they are described."""
        if self._detail.parameter_chars <= 0:
            return None
        options = [option for option in options_of(schema) if option.get("type") != "null"]
        if len(options) == 1:
            return self._described_object(options[0])
        if schema.get("items"):
            return self._described_object(as_schema(schema["items"]))
        parts = [as_schema(part) for part in properties_of(schema).values()]
        described = any(part.get("description") or self._described_object(part) for part in parts)
        return schema if described else None

    def _type(self, schema: Schema, spelled: bool = True) -> str:
        """Return a type such as `string`, `"a"|"b"`, `integer[]` or `{key: string}`; objects only if `spelled`."""
        if "const" in schema:
            return _json(schema["const"])
        if values := list_of(schema, "enum"):
            return "|".join(_json(value) for value in values)
        if options := options_of(schema):
            return "|".join(dict.fromkeys(self._type(option, spelled) for option in options))
        kinds = types_of(schema)
        if len(kinds) > 1:
            return "|".join(self._type({**schema, "type": one}, spelled) for one in kinds)
        kind = kinds[0] if kinds else "object" if "properties" in schema else "array" if "items" in schema else "any"
        if kind == "array" and isinstance(schema.get("items"), Mapping):
            inner = self._type(schema["items"], spelled)
            return f"({inner})[]" if "|" in inner and not inner.startswith("{") else f"{inner}[]"
        if kind == "object":
            return self._object(schema, spelled)
        return kind

    def _object(self, schema: Schema, spelled: bool) -> str:
        if not properties_of(schema):
            patterns = as_schema(schema.get("patternProperties"))
            values = next(iter(patterns.values()), schema.get("additionalProperties"))
            return f"{{any key: {self._type(values)}}}" if isinstance(values, Mapping) else "object"
        if not spelled:
            return "object"
        parts = self._kept(schema, self._detail.nested_optional)
        inner = ", ".join(f"{key}{'' if needed else '?'}: {self._type(part)}" for key, part, needed in parts)
        return f"{{{inner}}}" if inner else "object"

    def _shorten(self, text: str, limit: int) -> str:
        text = " ".join(text.split())
        if len(text) <= limit:
            return text
        self.shortened = True
        return shortened(text, limit)


def shortened(text: str, limit: int) -> str:
    """Return the beginning of `text`: up to a sentence's end if one stands in the later half, else up to a word's."""
    if limit < 12:
        return ""
    cut = text[: limit - 1]
    ends = [match.end() for match in re.finditer(r"[.!?](?=\s)|[。！？；;]", cut)]
    if ends and ends[-1] >= limit // 2:
        return cut[: ends[-1]].rstrip(";；")
    space = cut.rfind(" ")
    return (cut[:space] if space >= limit // 2 else cut).rstrip(",;: ") + "…"


def _limits(schema: Schema) -> str:
    said = [
        _range(schema, "minimum", "maximum"),
        _range(schema, "minLength", "maxLength", " characters", least=2),
        _range(schema, "minItems", "maxItems", " items"),
    ]
    said += [
        f"{sign} {limit}"
        for sign, key in ((">", "exclusiveMinimum"), ("<", "exclusiveMaximum"))
        if (limit := number_of(schema, key)) is not None
    ]
    if isinstance(schema.get("format"), str):
        said.append(schema["format"])
    if isinstance(schema.get("pattern"), str) and len(schema["pattern"]) <= 60:
        said.append(f"pattern {schema['pattern']}")
    if "default" in schema and len(default := _json(schema["default"])) <= 40:
        said.append(f"default {default}")
    given = [one for one in said if one]
    return f" ({', '.join(given)})" if given else ""


def _range(schema: Schema, lower: str, upper: str, unit: str = "", least: int = 0) -> str:
    low, high = number_of(schema, lower), number_of(schema, upper)
    if low is not None and unit and low < least:
        low = None
    if low is not None and high is not None:
        return f"{low} to {high}{unit}"
    if low is not None:
        return f">= {low}{unit}"
    return f"<= {high}{unit}" if high is not None else ""


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
