"""From a request's bytes to a `Request`, refusing what OpenAI refuses."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from demo.scripted.models import Model, find_model
from demo.scripted.refusal import Refusal
from demo.scripted.request import Request
from demo.scripted.strict_messages import check_messages
from demo.scripted.strict_tools import check_object_schema, check_tool_choice, check_tools
from demo.scripted.tokens import count_prompt

Check = Callable[[Any], bool]


def _number(low: float, high: float) -> Check:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _integer(low: int, high: float = float("inf")) -> Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is[T](*kinds: type[T]) -> Check:
    return lambda value: isinstance(value, kinds)


def _stop(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and 1 <= len(value) <= 4 and all(isinstance(each, str) for each in value)
    )


def _metadata(value: Any) -> bool:
    return isinstance(value, dict) and len(value) <= 16 and all(isinstance(each, str) for each in value.values())


def _anything(value: Any) -> bool:
    return True


# Every field of https://platform.openai.com/docs/api-reference/chat/create, what it must be, and that in words.
_FIELDS: dict[str, tuple[Check, str]] = {
    "model": (_is(str), "a string"),
    "messages": (_anything, ""),
    "tools": (_anything, ""),
    "tool_choice": (_anything, ""),
    "parallel_tool_calls": (_is(bool), "a boolean"),
    "stream": (_is(bool), "a boolean"),
    "stream_options": (_is(dict), "an object"),
    "temperature": (_number(0, 2), "a number from 0 to 2"),
    "top_p": (_number(0, 1), "a number from 0 to 1"),
    "presence_penalty": (_number(-2, 2), "a number from -2 to 2"),
    "frequency_penalty": (_number(-2, 2), "a number from -2 to 2"),
    "max_tokens": (_integer(1), "a positive integer"),
    "max_completion_tokens": (_integer(1), "a positive integer"),
    "n": (lambda value: value == 1, "1: this server gives one choice"),
    "stop": (_stop, "a string or an array of 1 to 4 strings"),
    "seed": (_is(int), "an integer"),
    "user": (_is(str), "a string"),
    "metadata": (_metadata, "an object of at most 16 strings"),
    "response_format": (_is(dict), "an object"),
    "logprobs": (_is(bool), "a boolean"),
    "top_logprobs": (_integer(0, 20), "an integer from 0 to 20"),
    "logit_bias": (_is(dict), "an object"),
    "reasoning_effort": (
        lambda value: value in ("none", "minimal", "low", "medium", "high", "xhigh"),
        "one of none, minimal, low, medium, high, xhigh",
    ),
    "verbosity": (lambda value: value in ("low", "medium", "high"), "one of low, medium, high"),
    "service_tier": (_is(str), "a string"),
    "store": (_is(bool), "a boolean"),
    "prompt_cache_key": (_is(str), "a string"),
    "prompt_cache_retention": (_is(str), "a string"),
    "safety_identifier": (_is(str), "a string"),
    "modalities": (lambda value: value == ["text"], "['text']"),
}
_NOT_NULL = ("model", "messages")
_TOOL_FIELDS = ("tools", "tool_choice", "parallel_tool_calls")


def read_request(raw: bytes) -> Request:
    """The request in these bytes. Raises `Refusal`."""
    body = _read_json(raw)
    model = find_model(body["model"])
    model.quirks.check(body)
    _check_fields(body, model)
    messages = check_messages(body["messages"], model)
    tools, tool_choice = _read_tools(body, model)
    overlooked = model.quirks.overlooks
    return Request(
        model=model,
        messages=messages,
        tools=tools,
        tool_choice="auto" if "tool_choice" in overlooked else tool_choice,
        parallel=body.get("parallel_tool_calls", True),
        stream=body.get("stream", False),
        logprobs=body.get("top_logprobs") or 0 if body.get("logprobs") else None,
        include_usage=_read_include_usage(body) and "stream_options" not in overlooked,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=[body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop", []),
        response_format={"type": "text"} if "json_schema" in overlooked else _read_response_format(body),
        prompt_tokens=_count_prompt(messages, tools, model),
    )


def _read_json(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"The body of the request is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise Refusal("The body of the request must be a JSON object.")
    # OpenAI takes an explicit null for a field that is left out.
    body = {name: value for name, value in body.items() if value is not None or name in _NOT_NULL}
    for name in _NOT_NULL:
        if name not in body:
            raise Refusal(f"The field '{name}' is missing.", param=name, code="missing_required_parameter")
    if not isinstance(body["model"], str):
        raise Refusal("model must be a string.", param="model")
    return body


def _check_fields(body: Mapping[str, Any], model: Model) -> None:
    for name, value in body.items():
        if name in model.quirks.own_fields:
            continue
        if name not in _FIELDS:
            raise Refusal(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        sound, wanted = _FIELDS[name]
        if not sound(value):
            raise Refusal(f"{name} must be {wanted}, not {value!r:.80}.", param=name, code="invalid_value")
    if "max_tokens" in body and "max_completion_tokens" in body:
        raise Refusal("max_tokens and max_completion_tokens cannot both be set.", param="max_tokens")
    if "top_logprobs" in body and not body.get("logprobs"):
        raise Refusal("top_logprobs is allowed only where logprobs is true.", param="top_logprobs")


def _read_tools(body: Mapping[str, Any], model: Model) -> tuple[Any, str]:
    if model.text_format is not None:
        for name in _TOOL_FIELDS:
            if name in body:
                raise Refusal(f"The model '{model.name}' does not support '{name}'.", param=name)
    tools = check_tools(body["tools"], known_keywords_only=model.known_schema_keywords_only) if "tools" in body else []
    if "parallel_tool_calls" in body and not tools:
        raise Refusal("parallel_tool_calls is allowed only where tools are given.", param="parallel_tool_calls")
    return tools, check_tool_choice(body["tool_choice"], tools) if "tool_choice" in body else "auto"


def _read_include_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not body.get("stream"):
        raise Refusal("stream_options is allowed only where stream is true.", param="stream_options")
    if unknown := options.keys() - {"include_usage", "include_obfuscation"}:
        name = f"stream_options.{min(unknown)}"
        raise Refusal(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    return bool(options.get("include_usage"))


def _read_response_format(body: Mapping[str, Any]) -> Mapping[str, Any]:
    wanted: Mapping[str, Any] = body.get("response_format", {"type": "text"})
    kind = wanted.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise Refusal("response_format.type must be text, json_object or json_schema.", param="response_format.type")
    if kind == "json_object" and "json" not in json.dumps(body["messages"]).lower():
        raise Refusal(
            "The messages must ask for JSON by that word where response_format is json_object.", param="messages"
        )
    if kind == "json_schema":
        path = "response_format.json_schema"
        named = wanted.get("json_schema")
        if not isinstance(named, dict) or not isinstance(named.get("name"), str):
            raise Refusal(f"{path} must have a name and a schema.", param=path)
        check_object_schema(named.get("schema"), f"{path}.schema", known_keywords_only=False)
    return wanted


def _count_prompt(messages: Any, tools: Any, model: Model) -> int:
    tokens = count_prompt(messages, tools)
    if tokens > model.context:
        raise Refusal(
            f"The context of '{model.name}' is {model.context} tokens; this prompt has {tokens}. Shorten the messages.",
            param="messages",
            code="context_length_exceeded",
        )
    return tokens
