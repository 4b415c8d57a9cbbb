"""Calls and results as text, in the form that a model of a family writes and expects.

Sources: the chat templates of Qwen 2.5 and 3, Qwen3-Coder, Llama 3, Mistral (v3 and v11), DeepSeek V3, V3.1 and V3.2,
GLM-4.5 and Kimi K2.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tools.openclaw_text.families import Family
from tools.openclaw_text.schema_parts import (
    Schema,
    as_schema,
    name_of,
    options_of,
    parameters_of,
    properties_of,
    types_of,
)
from tools.results import NO_OUTPUT, as_error

type Arguments = Mapping[str, Any] | str
"""A call's arguments. A string stands for JSON text that a model wrote and that could not be read."""
type Call = tuple[str, Arguments]
type Result = tuple[str, str, str, bool]
"""A tool's name, the tool_call_id, the output and whether it is an error."""

#: What might begin a special token or end a call. JSON can write it another way that reads back the same.
_SPECIAL = re.compile(r"<(?=[|｜]|/?tool_call|/?function)")
#: What could be taken for a tag of the forms that give values as plain text.
_TAG = re.compile(
    r"</?(?:\w{1,20}:)?(?:parameter|param|arg|function|invoke|call|tool|think)|<\s*/?\s*[|｜]", re.IGNORECASE
)
_KEY = re.compile(r"[A-Za-z0-9_.-]+")
#: What reads as JSON or as a Python literal, or begins to.
_LOOKS_TYPED = re.compile(r"""\s*(?:[\d.+\-"'\[({]|(?:true|false|null|none|nan|infinity)\s*$)""", re.IGNORECASE)
#: What a reader may decode or take for layout, and what has no bytes of its own.
_CHANGED = re.compile(r"&#?\w+;|\r\Z|[\ud800-\udfff]")


def write_calls(calls: Sequence[Call], family: Family, tools: Sequence[Schema] = (), first: int = 0) -> str:
    """Return the text with which a model of `family` asks for `calls`.

    `tools` (OpenAI's form) tells which values can stand as plain text without being taken for another type; `first`
    is the number of calls made earlier in the conversation, which Kimi counts on. No calls are the empty text.
    """
    return _WRITERS[family.call_format](calls, _properties_of(tools), first) if calls else ""


def write_results(results: Sequence[Result], family: Family) -> dict[str, Any]:
    """Return the user message that carries `results`, in the order of their calls.

    An upstream in text mode refuses the role `tool`. What ends a result is broken up inside an output, so that no
    output can pretend to be more than one.
    """
    form = family.results
    shown = [
        form.item.replace("{name}", name)
        .replace("{id}", tool_call_id)
        .replace("{output}", _output(output, is_error, form.closer))
        for name, tool_call_id, output, is_error in results
    ]
    return {"role": "user", "content": form.before + form.between.join(shown) + form.after}


def write_openclaw_calls(calls: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Return the text that OpenClaw executes when it is the whole answer.

    OpenClaw takes names of letters, digits, `_` and `-` alone, and at most 256,000 bytes for each call's arguments.
    """
    return "\n".join(f"[{name}]\n{_json(given)}\n[END_TOOL_REQUEST]" for name, given in calls)


def _output(output: str, is_error: bool, closer: str) -> str:
    text = as_error(output) if is_error else output if output.strip() else NO_OUTPUT
    return text.replace(closer, f"{closer[0]}\\{closer[1:]}") if closer else text


type _Properties = Mapping[str, Schema]


def _hermes_json(calls: Sequence[Call], _: _Properties, __: int) -> str:
    return "\n".join(f"<tool_call>\n{_object(call)}\n</tool_call>" for call in calls)


def _bare_json(calls: Sequence[Call], _: _Properties, __: int) -> str:
    return "\n".join(_object(call, "parameters") for call in calls)


def _mistral(calls: Sequence[Call], _: _Properties, __: int) -> str:
    return f"[TOOL_CALLS] [{', '.join(_object(call) for call in calls)}]"


def _deepseek_v3(calls: Sequence[Call], _: _Properties, __: int) -> str:
    return _deepseek(f"function<｜tool▁sep｜>{name}\n```json\n{_arguments(given)}\n```" for name, given in calls)


def _deepseek_v31(calls: Sequence[Call], _: _Properties, __: int) -> str:
    return _deepseek(f"{name}<｜tool▁sep｜>{_arguments(given)}" for name, given in calls)


def _deepseek(bodies: Iterable[str]) -> str:
    blocks = "\n".join(f"<｜tool▁call▁begin｜>{body}<｜tool▁call▁end｜>" for body in bodies)
    return f"<｜tool▁calls▁begin｜>{blocks}<｜tool▁calls▁end｜>"


def _kimi(calls: Sequence[Call], _: _Properties, first: int) -> str:
    blocks = "".join(
        f"<|tool_call_begin|>{kimi_id(name, index)}<|tool_call_argument_begin|>{_arguments(given)}<|tool_call_end|>"
        for index, (name, given) in enumerate(calls, first)
    )
    return f"<|tool_calls_section_begin|>{blocks}<|tool_calls_section_end|>"


def kimi_id(name: str, index: int) -> str:
    """Return the tool_call_id that Kimi writes for the call number `index` of a conversation, from 0."""
    return f"functions.{name}:{index}"


def _dsml(calls: Sequence[Call], _: _Properties, __: int) -> str:
    blocks = "\n".join(
        f'<｜DSML｜invoke name="{name}">\n{_dsml_parameters(given)}</｜DSML｜invoke>' for name, given in calls
    )
    return f"<｜DSML｜function_calls>\n{blocks}\n</｜DSML｜function_calls>"


def _dsml_parameters(given: Arguments) -> str:
    plain = _as_plain(given, None)
    if plain is None or isinstance(given, str):
        return f"{_arguments(given)}\n"
    marks = {key: _json(isinstance(value, str)) for key, value in given.items()}
    return "".join(
        f'<｜DSML｜parameter name="{key}" string="{marks[key]}">{_framed(value)}</｜DSML｜parameter>\n'
        for key, value in plain.items()
    )


def _hermes_fn(calls: Sequence[Call], properties: _Properties, _: int) -> str:
    def body(name: str, given: Mapping[str, str]) -> str:
        parameters = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in given.items())
        return f"<function={name}>\n{parameters}</function>"

    return _plain_blocks(calls, properties, body)


def _glm(calls: Sequence[Call], properties: _Properties, _: int) -> str:
    def body(name: str, given: Mapping[str, str]) -> str:
        pairs = [f"<arg_key>{key}</arg_key>\n<arg_value>{_framed(value)}</arg_value>" for key, value in given.items()]
        return "\n".join([name, *pairs])

    return _plain_blocks(calls, properties, body)


def _framed(value: str) -> str:
    """A line end at either side is taken for layout: give the value one more to lose."""
    return f"\n{value}\n" if value[:1] in "\r\n" or value[-1:] in "\r\n" else value


def _plain_blocks(calls: Sequence[Call], properties: _Properties, body: Callable[[str, Mapping[str, str]], str]) -> str:
    blocks = []
    for name, given in calls:
        plain = _as_plain(given, properties.get(name))
        blocks.append(_object((name, given)) if plain is None else body(name, plain))
    return "\n".join(f"<tool_call>\n{block}\n</tool_call>" for block in blocks)


def _as_plain(given: Arguments, declared: Schema | None) -> dict[str, str] | None:
    """Return the arguments as plain text, or None where one would not read back as it is: those go as JSON."""
    if isinstance(given, str):
        return None
    plain = {}
    for key, value in given.items():
        text = value if isinstance(value, str) else _json(value)
        if not _KEY.fullmatch(key) or not _stands_plain(text):
            return None
        if declared is not None and not _typed_alike(value, as_schema(declared.get(key))):
            return None
        plain[key] = text
    return plain


def _stands_plain(text: str) -> bool:
    return not (_TAG.search(text) or _CHANGED.search(text))


def _typed_alike(value: object, schema: Schema) -> bool:
    """Say whether a reader that goes by `schema` gives plain text the type that `value` has."""
    types = _types(schema)
    if isinstance(value, str):
        return types == {"string"} or ("string" in types and not _LOOKS_TYPED.match(value))
    return bool(types) and "string" not in types


def _types(schema: Schema) -> set[str]:
    """Return the types that a schema names; none where it names none, or only by reference."""
    options = options_of(schema)
    return {one for option in options for one in _types(option)} if options else set(types_of(schema))


def _object(call: Call, key: str = "arguments") -> str:
    name, given = call
    return f'{{"name": {_json(name)}, "{key}": {_arguments(given)}}}'


def _arguments(given: Arguments) -> str:
    return _inert(given if isinstance(given, str) else _json(given))


def _inert(json_text: str) -> str:
    return _SPECIAL.sub(r"\\u003c", json_text)


def _json(value: object) -> str:
    """Return JSON that can be sent: half a surrogate pair has no bytes of its own."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def _properties_of(tools: Sequence[Schema]) -> _Properties:
    return {name_of(tool): properties_of(parameters_of(tool)) for tool in tools}


_WRITERS: Mapping[str, Callable[[Sequence[Call], _Properties, int], str]] = {
    "hermes_json": _hermes_json,
    "hermes_fn": _hermes_fn,
    "bare_json": _bare_json,
    "mistral": _mistral,
    "deepseek_v3": _deepseek_v3,
    "deepseek_v31": _deepseek_v31,
    "deepseek_dsml": _dsml,
    "glm_xml": _glm,
    "kimi_k2": _kimi,
}
