"""What a refusal teaches about an upstream: the request is written otherwise, sent again, and so is every later one.

A lesson changes fields that a request can do without, the prompt's shape, words of a tool's schema, or a value. What a
node sets itself (a temperature, a seed) is left alone: there the upstream's words name what to change.
"""

import json
import logging
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from provider.engine.events import UpstreamFailed
from provider.errors import ContextTooLong
from provider.upstream import shapes, standing_in
from provider.upstream.wordings import tells_filtered
from tools.results import Message
from tools.schemas import BOUNDS, LISTED_TYPES, typed, without, without_empty_objects, words_of

log = logging.getLogger(__name__)

Body = dict[str, Any]
Upstream = tuple[str, str]

_OUR_WORDS = re.compile(r"^The upstream('s filter refuses what is asked| answered \d+): ")
_STATUSES = {400, 404, 422, 500, 501}
_MOST = 24


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is different from now on. `passing` is one that counts for the invocation at hand alone.

    One about an `optional` field counts where only a client asked for that: a node's own is sent all the same. One that
    is known before has how a `refusal` speaks of it.
    """

    name: str
    write: Callable[[Body], Body]
    passing: bool = False
    optional: str = ""
    refusal: str = ""


def _known(name: str, refusal: str, write: Callable[[Body], Body]) -> Lesson:
    return Lesson(name, write, refusal=refusal)


def _prompt(write: Callable[[Sequence[Message]], list[Message]]) -> Callable[[Body], Body]:
    return lambda body: body | {"messages": write(body["messages"])}


def _leave_out(*names: str) -> Callable[[Body], Body]:
    return lambda body: {name: value for name, value in body.items() if name not in names}


def _instead(old: str, new: str) -> Callable[[Body], Body]:
    return lambda body: {new if name == old else name: value for name, value in body.items()}


_NOT = r"(not|un|in)[ -]?(be )?(supported|permitted|allowed|expected|recogni[sz]ed|known|available|valid)|not support"
_REFUSED = re.compile(
    rf"{_NOT}|extra|no such|cannot be empty|cannot find|additional propert|remove|不支持|不存在|无效|"
    r"only .{0,40}(supported|allowed)",
    re.IGNORECASE,
)

_GRAMMAR = r"(parse|compile|build|initiali[sz]e).{0,20}(grammar|samplers)|grammar.{0,30}too |too many states"
"""Some servers make one grammar of all tools, and it may become too large."""

KNOWN = (
    _known(
        "single_calls",
        r"single tool.?calls?\b|multiple tool.?calls? (are|is) not|one tool.?call at a time",
        _prompt(shapes.single_calls),
    ),
    _known(
        "reasoning_content",
        r"reasoning_content.{0,80}(must|missing|required|expected|empty|passed back)|missing.{0,40}reasoning_content",
        _prompt(shapes.with_thoughts),
    ),
    _known("thought_signature", r"thought_?signature", _prompt(shapes.with_signatures)),
    _known(
        "system",
        r"system (role|message)s?[^.]{0,30}(not|un)[ -]?support|"
        r"not support[^.]{0,40}(\bsystem\b|developer instruction)|"
        r"developer instruction is not|only user and assistant roles|"
        r"(invalid|unsupported|unknown|unexpected) role:? ['\"`]?(system|developer)",
        _prompt(shapes.without_system),
    ),
    _known(
        "system_first",
        r"system (message|prompt|role)s?.{0,40}(beginning|first|start|only one|multiple|once)|"
        r"(multiple|more than one) system|unexpected role ['\"`]?system",
        _prompt(shapes.system_first),
    ),
    _known(
        "alternating",
        r"alternat|consecutive|successive|roles? must|first message.{0,40}user|incorrect role|last message.{0,30}user",
        _prompt(shapes.alternating),
    ),
    _known(
        "with_user",
        r"no user query|at least one (user )?message|(start|begin|end)s? with an? user|"
        r"(first|last|final) message.{0,40}user|assistant message prefill",
        _prompt(shapes.with_user),
    ),
    _known(
        "answer_between",
        r"role ['\"`]?user['\"`]? (right )?after (the )?role ['\"`]?tool|user.{0,20}(after|follow).{0,20}tool|"
        r"(after|follow).{0,20}tool.{0,40}assistant|roles must alternate",
        _prompt(shapes.answer_between),
    ),
    _known(
        "images",
        r"(image|vision|multi-?modal|visual)[^.]{0,60}(not|un)[ -]?(support|allow|available|enabled)|"
        r"(not|n't) support[^.]{0,60}(image|vision|multi-?modal)|no endpoints found that support image|"
        r"unknown variant ['\"`]?image_url|image_url is only supported|is not a (multimodal|vision|vlm)",
        _prompt(shapes.without_images),
    ),
    _known(
        "strings",
        r"expected a string|(must|should) be a(n? valid)? string|not a(?: valid)? string|expects? (a )?string|"
        r"string_type|cannot unmarshal array.{0,40}content of type string",
        _prompt(shapes.strings_alone),
    ),
    _known(
        "tool_names",
        r"function_response\.name|"
        r"(tool|function) (message|response|result)s?.{0,40}\bname\b.{0,30}(missing|required|empty)",
        _prompt(shapes.with_names),
    ),
    _known(
        "content", r"content.{0,60}(null|none|missing|required|empty)|null.{0,40}content", _prompt(shapes.with_content)
    ),
    _known("call_ids", r"call.{0,4}id.{0,80}(must be|length of|too long|maximum length)", _prompt(shapes.plain_ids)),
    _known(
        "enable_thinking",
        r"enable.?thinking.{0,60}(non-?stream|stream)",
        lambda body: body if body.get("stream") else body | {"enable_thinking": False},
    ),
    _known("json_word", r"the word .{0,3}json|json.{0,12} word", lambda body: _with_word(body)),
    _known("stream_options", r"stream_options|include_usage", _leave_out("stream_options")),
    _known("tool_choice", r"tool_choice|tool choice", _leave_out("tool_choice")),
    _known("parallel_tool_calls", r"parallel_tool_calls|parallel (tool|function)", _leave_out("parallel_tool_calls")),
    _known(
        "tools_kept",
        r"without .?tools=|toolConfig field must be defined|(must define|expects the) .?tools\b",
        lambda body: _tools_kept(body),
    ),
    _known(
        "typed",
        r"type is not defined|type should be defined in anyOf|didn't specify the schema type|"
        r"schema.{0,60}(must|should) have a .?type\b|missing.{0,20}\btype\b.{0,30}schema",
        lambda body: _of_tools(partial(_with_schema, typed), body),
    ),
    _known(
        "objects",
        r"should be non-empty for OBJECT",
        lambda body: _of_tools(_without_empty, body),
    ),
    _known("grammar", _GRAMMAR, lambda body: _without_words(BOUNDS, body)),
    _known("described", _GRAMMAR, lambda body: _of_tools(_described, body)),
    _known("max_tokens", r"max_completion_tokens", _instead("max_tokens", "max_completion_tokens")),
    _known("max_completion_tokens", r"max_completion_tokens", _instead("max_completion_tokens", "max_tokens")),
    _known(
        "user",
        r"[\"'`]user(_id)?[\"'`](?! role)|(parameters?:?|->|supplied:) user\b|\buser: extra",
        _leave_out("user"),
    ),
    _known(
        "stream",
        r"\bstream(ing)?\b.{0,60}(not|un)[ -]?(be )?(supported|allowed|available)|not support.{0,20}\bstream(ing)?\b",
        _leave_out("stream", "stream_options"),
    ),
)
_ADDED = {"reasoning_content", "thought_signature"}
"""These add a field: a refusal of the field itself does not ask for it."""

_BY_NAME = {known.name: known for known in KNOWN}
_ORDER = {name: place for place, name in enumerate(_BY_NAME)}

_learned: dict[Upstream, tuple[Lesson, ...]] = {}
"""What each upstream (its address and the model) has taught since this process began."""


def lessons_of(upstream: Upstream, names: Collection[str] = (), new: Collection[Lesson] = ()) -> list[Lesson]:
    """Return what holds for an upstream, `names` are what is known of its vendor. Shapes come in their own order."""
    known = (*map(_BY_NAME.__getitem__, names), *_learned.get(upstream, ()), *new)
    lessons = {lesson.name: lesson for lesson in known}
    return sorted(lessons.values(), key=lambda lesson: _ORDER.get(lesson.name, -1))


def taught(upstream: Upstream, name: str) -> bool:
    """Say whether the upstream has taught a lesson."""
    return any(lesson.name == name for lesson in _learned.get(upstream, ()))


def learn(body: Body, failed: UpstreamFailed, optional: Collection[str] = ()) -> Lesson | None:
    """Return what a refusal of `body` teaches; None where it teaches nothing that is not known.

    `optional` are fields that only the client asked for.
    """
    if failed.status not in _STATUSES or isinstance(failed.error, ContextTooLong):
        return None
    said = _OUR_WORDS.sub("", str(failed.error))
    # What another request has learned meanwhile is news to this one all the same.
    lesson = next((lesson for lesson in _candidates(said, body, optional) if lesson.write(body) != body), None)
    if lesson:
        log.warning("this upstream refuses a request (%s), so it is written otherwise: %s", lesson.name, said)
    return lesson


def remember(upstream: Upstream, new: Collection[Lesson]) -> None:
    """Let lessons hold for every later request: one that was written so was accepted.

    A refusal may repeat what a client sent, and so say anything; what does not help is not kept.
    """
    for lesson in new:
        others = [other for other in _learned.get(upstream, ()) if other.name != lesson.name]
        if len(others) >= _MOST and (oldest := next((other for other in others if other.optional), None)):
            others.remove(oldest)
        if not lesson.passing and len(others) < _MOST:
            _learned[upstream] = (*others, lesson)


def forget() -> None:
    """Forget what was learned."""
    _learned.clear()


def _candidates(said: str, body: Body, optional: Collection[str]) -> Iterator[Lesson]:
    """Yield what a refusal may be about. What takes most away comes last: the words may only quote a client's."""
    yield from _of_limit(said, body)
    refused = bool(_REFUSED.search(said))
    known = list(_known_from(said, refused=refused))
    yield from (lesson for lesson in known if lesson.name not in _LOSING)
    yield from _of_schemas(said, body)
    if body.get("tools") and (longest := _OF_DESCRIPTIONS.search(said)):
        yield Lesson("descriptions", lambda body: _of_tools(partial(_no_longer, int(longest[1])), body))
    for name, (field, write) in _STOOD_IN.items():
        if field in body and _names(said, field):
            is_of_all = (refused or "must be" in said) and not _OF_ONE_SCHEMA.search(said)
            yield Lesson(name, write, passing=not is_of_all)
    yield from _of_optional(said, body, optional, refused=refused)
    if refused:
        yield from _inside(said, body)
    if most := _OF_IMAGES.search(said):
        yield Lesson("some_images", _prompt(partial(shapes.some_images, int(most[1]))))
    yield from (lesson for lesson in known if lesson.name in _LOSING and not tells_filtered(said))


def _known_from(said: str, *, refused: bool) -> Iterator[Lesson]:
    for known in KNOWN:
        if re.search(known.refusal, said, re.IGNORECASE) and not (refused and known.name in _ADDED):
            if known.name in _OF_MESSAGES and _OF_A_SCHEMA.search(said):
                continue
            one = _OF_ONE.get(known.name)
            yield replace(known, passing=True) if one and one.search(said) else known


def _of_optional(said: str, body: Body, optional: Collection[str], *, refused: bool) -> Iterator[Lesson]:
    for name in optional:
        if name not in body or name in _STOOD_IN or not _names(said, name):
            continue
        if refused and not _OF_A_VALUE.search(said) and not _shows(said, body[name]):
            yield Lesson(name, _leave_out(name), optional=name)
        else:
            # Of a value nothing is known but that it was refused: others ask for another one.
            yield Lesson(f"{name} {body[name]!r}"[:80], partial(_without_value, name, body[name]), optional=name)


_OF_A_VALUE = re.compile(r"value|range|between|at (least|most)|one of|greater|less|must be", re.IGNORECASE)


def _shows(said: str, value: Any) -> bool:
    return bool(re.search(rf"(?<![\w.]){re.escape(str(value))}(?![\w.])", said))


_LOSING = {"images", "strings"}
_OF_MESSAGES = {"strings", "content", "images"}
_OF_A_SCHEMA = re.compile(r"schema|parameters|function_declarations|\btools?\b[\[.]", re.IGNORECASE)
_OF_ONE = {
    "images": re.compile(
        r"image/|image[_ ]?(type|format|data|url)|(process|decode|download|fetch|load|read|open|parse)|supported:|"
        r"image.{0,30}(large|small|big|size|dimension|corrupt|invalid|contain)|invalid.{0,20}image|"
        r"\b(input|this|your|provided) image|policy|safety",
        re.IGNORECASE,
    ),
    "tool_choice": re.compile("think|reason", re.IGNORECASE),
}
_OF_ONE_SCHEMA = re.compile(r"invalid schema|in context=", re.IGNORECASE)
"""What is wrong with one request says nothing of others."""


def _without_value(name: str, value: Any, body: Body) -> Body:
    return _leave_out(name)(body) if body.get(name) == value else body


def _with_word(body: Body) -> Body:
    """Let the prompt speak of JSON where that is asked for."""
    wanted, messages = body.get("response_format"), body["messages"]
    if not isinstance(wanted, dict) or wanted.get("type") != "json_object" or "json" in str(messages).lower():
        return body
    return body | {"messages": standing_in.in_words(messages, wanted)}


def _schema_in_words(body: Body) -> Body:
    wanted = body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return body
    return _format_in_words(body) | {"response_format": {"type": "json_object"}}


def _format_in_words(body: Body) -> Body:
    wanted = body.get("response_format")
    if not isinstance(wanted, dict):
        return body
    return _leave_out("response_format")(body) | {"messages": standing_in.in_words(body["messages"], wanted)}


_STOOD_IN: dict[str, tuple[str, Callable[[Body], Body]]] = {
    "json_schema": ("response_format", _schema_in_words),
    "response_format": ("response_format", _format_in_words),
    "stop": ("stop", _leave_out("stop")),
}
"""Fields that are written otherwise or left out, and what they ask for is done here."""


def _names(said: str, name: str) -> bool:
    words = {"response_format": "response.?(format|mime)|json.?schema|json.?(mode|object)|structured.?output"}
    return bool(re.search(words.get(name, rf"\b{name.replace('_', '[ _-]?')}\b"), said, re.IGNORECASE))


# The limit of the answer

LIMITS = ("max_tokens", "max_completion_tokens")
_OF_LIMIT = re.compile(r"max_?(completion_|output_|new_)?tokens|(completion|output) tokens", re.IGNORECASE)
_LEFT = re.compile(r"> (\d+) - (\d+)")


def _of_limit(said: str, body: Body) -> Iterator[Lesson]:
    """A cap on the answer, by the largest number in the refusal that is below what was asked for.

    What is left of the context is another number for each prompt.
    """
    field = next((name for name in LIMITS if body.get(name)), None)
    if field is None or not _OF_LIMIT.search(said):
        return
    left = _LEFT.search(said)
    numbers = [int(left[1]) - int(left[2])] if left else [int(number) for number in re.findall(r"\b\d{2,9}\b", said)]
    caps = [number for number in numbers if 0 < number < body[field]]
    if caps and not re.search(r"max_completion_tokens['\"`]? instead", said):
        yield Lesson("limit", partial(_capped, max(caps)), passing=bool(left))


def _capped(cap: int, body: Body) -> Body:
    return body | {name: min(cap, body[name]) for name in LIMITS if body.get(name)}


# Words of schemas

_OF_SCHEMAS = re.compile(r"schema|function_declarations|tools?\b|function|parameters|propert", re.IGNORECASE)
_OF_TYPES = re.compile(
    r"not repeating, cannot start list|type.{0,60}(list|array|sequence|must be a string)|"
    r"cannot unmarshal array.{0,90}\.type of type string",
    re.IGNORECASE,
)


def _of_schemas(said: str, body: Body) -> Iterator[Lesson]:
    if not body.get("tools") or not _OF_SCHEMAS.search(said):
        return
    used: set[str] = set()
    for tool in body["tools"]:
        used |= words_of(tool["function"].get("parameters"))
    words = {word for word in used if _named_in(said, word)} if _REFUSED.search(said) or "keyword" in said else set()
    if not words and LISTED_TYPES in used and _OF_TYPES.search(said):
        words = {LISTED_TYPES}
    if words:
        yield Lesson(f"schema {sorted(words)}", partial(_without_words, frozenset(words)))


def _named_in(said: str, word: str) -> bool:
    """Say whether a word of a schema, which may be an everyday one, is spoken of."""
    quoted = rf"['\"`]{re.escape(word)}['\"`]|[./]{re.escape(word)}\b|keywords?:? {re.escape(word)}\b"
    return bool(re.search(rf"(?<!\w){re.escape(word)}\b" if re.search(r"[$A-Z]", word) else quoted, said))


def _without_words(words: frozenset[str], body: Body) -> Body:
    return _of_tools(partial(_with_schema, lambda schema: without(schema, words)), body)


def _of_tools(write: Callable[[Body], Body], body: Body) -> Body:
    """Write the function of each tool otherwise."""
    tools = body.get("tools")
    return body | {"tools": [tool | {"function": write(tool["function"])} for tool in tools]} if tools else body


def _with_schema(write: Callable[[Any], Any], function: Body) -> Body:
    return function | {"parameters": write(function["parameters"])} if "parameters" in function else function


def _without_empty(function: Body) -> Body:
    if function.get("parameters") and not function["parameters"].get("properties"):
        return {name: value for name, value in function.items() if name != "parameters"}
    return _with_schema(without_empty_objects, function)


def _described(function: Body) -> Body:
    """Say in the description what the schema says: a model reads both."""
    parameters = function.get("parameters")
    if not parameters or parameters == {"type": "object"}:
        return function
    said = f"{function.get('description') or ''}\n\nArguments, as a JSON Schema: {json.dumps(parameters)}".strip()
    return function | {"description": said, "parameters": {"type": "object"}}


_OF_DESCRIPTIONS = re.compile(r"description.{0,90}?(?:maximum length|at most|longer than|limit of) (\d{2,6})")


def _no_longer(longest: int, function: Body) -> Body:
    said = function.get("description") or ""
    return function | {"description": f"{said[: longest - 1]}…"} if len(said) > longest else function


_OF_IMAGES = re.compile(r"at most (\d+) image", re.IGNORECASE)


def _tools_kept(body: Body) -> Body:
    """Let a request whose dialogue holds calls have the tools of these, where it offers none any more."""
    calls = [call for message in body["messages"] for call in message.get("tool_calls") or ()]
    if body.get("tools") or not calls:
        return body
    names = dict.fromkeys(call["function"]["name"] for call in calls)
    return body | {"tools": [{"type": "function", "function": _GONE | {"name": name}} for name in names]}


_GONE = {"description": "Cannot be called any more.", "parameters": {"type": "object", "properties": {}}}


# Fields inside messages, calls and tools

_NEEDED = frozenset({"role", "content", "tool_calls", "tool_call_id", "id", "type", "function", "name", "parameters",
                     "arguments", "description"})  # fmt: skip


def _inside(said: str, body: Body) -> Iterator[Lesson]:
    fields = {"name"} | {name for message in body["messages"] for name in message}
    fields |= {name for message in body["messages"] for call in message.get("tool_calls") or () for name in call}
    fields |= {name for tool in body.get("tools") or () for part in (tool, tool["function"]) for name in part}
    for name in sorted(fields - (_NEEDED - {"name"})):
        # An everyday word is a field only where it is marked as one.
        begin = r"(?<!\w)" if "_" in name else r"['\"`.]"
        if re.search(rf"{begin}{re.escape(name)}\b", said):
            yield Lesson(f"inside {name}", partial(_without_inside, name))


def _without_inside(name: str, body: Body) -> Body:
    """Leave a field out of the messages and their calls, and of the tools; a function keeps its name."""

    def bare(part: Body) -> Body:
        return {key: value for key, value in part.items() if key != name}

    def message(given: Body) -> Body:
        calls = given.get("tool_calls")
        return bare(given) | ({"tool_calls": [bare(call) for call in calls]} if calls else {})

    written = body | {"messages": [message(given) for given in body["messages"]]}
    if body.get("tools") and name != "name":
        written["tools"] = [bare(tool) | {"function": bare(tool["function"])} for tool in body["tools"]]
    return written
