"""Arguments as tags: `<parameter=city>Seoul</parameter>` and its relatives, with values that are not escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from textwrap import dedent
from typing import Any

from tools.openclaw_text.schema import Schema
from tools.openclaw_text.tape import Steps, Tape

TAG_CAP = 300


class BadTagsError(Exception):
    """These tags hold no arguments."""


# What a family puts before its words, and the words.
_FAMILY = r"(?:\s{0,2}[|｜]{1,2}\s{0,2}[A-Za-z]{2,12}\s{0,2}[|｜]{1,2}\s{0,2}|\w{1,16}[:|｜])?"
_WORDS = r"parameter|param|arg|function|invoke|call|tool"
_PAIRED = r"(?:[a-z]{1,16}_)??(?:arg|param)_"
_HOLDERS = r"(?:[a-z]{1,16}_)??(?:tool|function)_calls?"
_NAMED = r"(?:\s{0,8}=\s{0,8}|\s{1,8}name\s{0,8}=\s{0,8})[\"']?"

#: That a call is closed here, or another one opened.
CLOSES = re.compile(
    rf"<\s{{0,2}}/?{_FAMILY}(?:function|invoke|call|tool|{_HOLDERS})[\s>=|]|<[|｜](?:tool|call|end|eom|eot|return)",
    re.IGNORECASE,
)
#: The head of a call: `<function=f>`, `<invoke name="f">` and the like. Groups: name, `/` when it closes itself.
FUNCTION_HEAD = re.compile(
    # Its end may be missing, or written as another `=`, before an object or a parameter.
    rf"<{_FAMILY}(?:function|invoke|call|tool){_NAMED}(?:<function=)?([^\"'<>={{}}]{{1,120}}?)[\"']?"
    r"(?:\s{0,8}(/?)>|=?(?=\{)|(?=\s{1,8}<parameter))",
    re.IGNORECASE,
)

_PARAMETER = rf"<(?P<family>{_FAMILY})(?:parameter|param|arg)"
# Groups: the name, as it was written behind `=`, in quotes or as a key of its own; attributes.
_PARAMETER_HEAD = re.compile(
    rf"{_PARAMETER}(?:\s{{0,8}}=\s{{0,8}}[\"']?(?P<bare>[^\"'<>]{{1,120}}?)[\"']?\s{{0,8}}/?>"
    rf"|\s{{1,8}}name\s{{0,8}}=\s{{0,8}}(?:[\"'](?P<quoted>[^\"'<>]{{1,120}})[\"']|(?P<unquoted>[^\"'<>\s]{{1,120}}))"
    r"(?P<attributes>\s[^<>]{0,80})?/?>)"
    rf"|<(?P<paired>(?P<kin>{_FAMILY}){_PAIRED})key>\s{{0,8}}(?P<key>[^<>]{{1,120}}?)\s{{0,8}}(?:</(?P=paired)key>|(?=<(?P=paired)value>))\s{{0,16}}"
    rf"(?:<(?P=paired)type>(?P<type>[^<>]{{1,40}})</(?P=paired)type>\s{{0,16}})?(?:<(?P=paired)value>|(?=[^<\s]))",
    re.IGNORECASE,
)
_TAG = re.compile(
    rf"<\s{{0,2}}(?P<closes>/?)(?P<family>{_FAMILY})(?:(?P<word>{_WORDS})(?=[\s=>/])|{_PAIRED}(?P<part>key|value|type)(?=>)"
    rf"|{_HOLDERS}(?=[\s>]))(?P<rest>[^<>]{{0,200}})>",
    re.IGNORECASE,
)
_TAG_END = re.compile(">")
_PARAMETER_WORDS = {"parameter", "param", "arg"}
_FUNCTION_WORDS = {"function", "invoke", "call", "tool"}
_STRUCTURE = re.compile(
    rf"<\s{{0,2}}/?{_FAMILY}(?:(?:{_WORDS})[\s=>/]|{_PAIRED}(?:key|value|type)>|{_HOLDERS}[\s>])"
    r"|</?[|｜](?!\s{0,2}DSML)[^<>|｜]{1,40}[|｜]?>",
    re.IGNORECASE,
)
# A value's closing tag is now and then written twice.
_STRAY_END = re.compile(rf"<\s{{0,2}}/{_FAMILY}(?:parameter|param|arg|{_PAIRED}value)\s{{0,8}}>", re.IGNORECASE)
_STRUCTURE_CAP = 100
_STRING_ATTRIBUTE = re.compile(r"string\s*=\s*[\"']?true", re.IGNORECASE)


def read_tag(tape: Tape, pattern: re.Pattern[str], other: re.Pattern[str] | None = None) -> Steps[re.Match[str] | None]:
    """Read `pattern`, which is a tag or two, or the `other` one, if it stands here."""
    while True:
        if match := pattern.match(tape.text, tape.at) or (other and other.match(tape.text, tape.at)):
            tape.at = match.end()
            return match
        if len(tape.text) - tape.at > TAG_CAP or not (yield from tape.more()):
            return None


def read_parameters(tape: Tape, schema: Schema) -> Steps[dict[str, Any]]:
    """Read parameters until something else stands there, and type them.

    Raises `BadTagsError` when the text ends inside a value.
    """
    found: dict[str, Any] = {}
    while (yield from tape.peek()) == "<":
        head = yield from read_tag(tape, _PARAMETER_HEAD, _STRAY_END if found else None)
        if not head:
            break
        if head.re is _STRAY_END:
            continue
        name = next(filter(None, head.group("bare", "quoted", "unquoted", "key"))).strip()
        if head.group().endswith("/>"):
            found[name] = ""
            continue
        text = yield from _Value(tape, schema.names, _letters(head["family"] or head["kin"] or "")).read()
        found[name] = _typed(text, head, schema, schema.of(name))
    return found


def _typed(text: str, head: re.Match[str], schema: Schema, wanted: Mapping[str, Any] | None) -> Any:
    """Type a value. Line ends are the value's own unless they come in pairs; behind `=` each is one of the tags'."""
    if data := _DATA.fullmatch(text):
        return schema.read(data.group(1), wanted, loose=False)
    if head["bare"] or text.startswith(("\n", "\r\n")):
        text = strip_line_ends(text)
    stated = (head["type"] or "").strip() == "string" or _STRING_ATTRIBUTE.search(head["attributes"] or "")
    if stated and "string" in (schema.types(wanted) or ["string"]):
        return text
    return schema.read(text, wanted, loose="steptml" not in head.group())


def _letters(family: str) -> str:
    return re.sub(r"\W", "", family).lower()


def strip_line_ends(text: str) -> str:
    """Take the one line end off each side that belongs to the tags."""
    if text.startswith("\r\n"):
        return text.removeprefix("\r\n").removesuffix("\r\n")
    return text.removeprefix("\n").removesuffix("\n")


class _Value:
    """A value that may hold the very tags that end it.

    It ends at the first closing tag behind which the structure goes on, calls that are quoted inside it not counted.
    When there is none, it ends at the first one that could be its end.
    """

    def __init__(self, tape: Tape, names: Collection[str], family: str) -> None:
        self.tape = tape
        self.names = names
        #: Where the opening tag is a family's own, only its tags end the value.
        self.family = family
        #: Parameters that opened inside, and have not closed.
        self.opened = 0
        self.quoted = 0
        #: Where the value may have ended, and where the text goes on then.
        self.end: tuple[int, int] | None = None
        self.quoted_end: tuple[int, int] | None = None

    def read(self) -> Steps[str]:
        tape = self.tape
        start = tape.hold()
        try:
            yield from self._data()
            ended = False
            while not ended and (tag := (yield from self._next_tag())):
                ended = yield from self._is_end(tag)
            end = self.end or self.quoted_end
            if not end:
                raise BadTagsError("the text ends in a value")
            if not tape.try_again(end[0]):
                raise BadTagsError("it is uncertain where a value ends")
            text = tape.since(start)
            tape.rewind(end[1])
            return text if end[0] < end[1] else text.removesuffix("\n").removesuffix("\r")
        finally:
            tape.release()

    def _data(self) -> Steps[None]:
        """Go behind what is quoted as a whole, if the value begins so."""
        tape = self.tape
        while _DATA_BEGINS.startswith(tape.text[tape.at : tape.at + len(_DATA_BEGINS)]):
            if len(tape.text) - tape.at < len(_DATA_BEGINS):
                if not (yield from tape.more()):
                    return
                continue
            while (end := tape.text.find("]]>", tape.at)) < 0:
                tape.at = max(tape.at, len(tape.text) - 2)
                if not (yield from tape.more(_TAG_END)):
                    return
            tape.at = end + 3

    def _next_tag(self) -> Steps[re.Match[str] | None]:
        tape = self.tape
        while True:
            match = _TAG.search(tape.text, tape.at)
            if match:
                tape.at = match.end()
                return match
            last = tape.text.rfind("<", max(tape.at, len(tape.text) - TAG_CAP))
            tape.at = len(tape.text) if last < 0 else last
            if not (yield from tape.more(_TAG_END)):
                return None

    def _is_end(self, tag: re.Match[str]) -> Steps[bool]:
        if self.family and _letters(tag["family"]) != self.family:
            return False
        closes, word, part = bool(tag["closes"]), (tag["word"] or "").lower(), (tag["part"] or "").lower()
        after = self.tape.position
        before = after - len(tag.group())
        if part or word in _PARAMETER_WORDS:
            if not closes:
                return self._parameter_opens(tag, part, before)
            return part not in ("key", "type") and (yield from self._parameter_closes(before, after))
        if word in _FUNCTION_WORDS and not closes:
            return self._function_opens(tag)
        if not closes:
            return self.end is not None and not self.quoted
        if word in _FUNCTION_WORDS and self.quoted:
            self.quoted -= 1
            return False
        if self.quoted:
            return False
        return (yield from self._parent_closes(before))

    def _parameter_closes(self, before: int, after: int) -> Steps[bool]:
        goes_on = yield from self._structure_follows()
        if self.quoted:
            if goes_on and not self.quoted_end:
                self.quoted_end = (before, after)
            return False
        if self.opened:
            self.opened -= 1
            return False
        self.end = (before, after) if goes_on else self.end or (before, after)
        return goes_on

    def _parameter_opens(self, tag: re.Match[str], part: str, before: int) -> bool:
        """A sibling opens, so this value's own closing tag is missing; or it has ended before."""
        if self.quoted or part in ("value", "type"):
            return False
        name = tag["rest"].strip(" =\"'").removeprefix("name").strip(" =\"'")
        if part != "key" and self.names and name not in self.names:
            self.opened += 1
            return False
        self.end = self.end or (before, before)
        return True

    def _function_opens(self, tag: re.Match[str]) -> bool:
        if self.end and not self.quoted:
            return True
        if "=" in tag["rest"]:
            self.quoted += 1
        return False

    def _parent_closes(self, before: int) -> Steps[bool]:
        """The call closes, so this value's closing tag is missing."""
        self.end = self.end or (before, before)
        return (yield from self._structure_follows())

    def _structure_follows(self) -> Steps[bool]:
        tape = self.tape
        char = yield from tape.peek()
        if char != "<":
            return not char
        while not (found := _STRUCTURE.match(tape.text, tape.at)):
            if len(tape.text) - tape.at > _STRUCTURE_CAP or not (yield from tape.more()):
                break
        return found is not None


_ELEMENT = re.compile(r"<([A-Za-z_][\w.-]*)\s*(/?)>")
_DATA = re.compile(r"\s*<!\[CDATA\[(.*?)\]\]>\s*", re.DOTALL)
_DATA_BEGINS = "<![CDATA["
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos);")
_CLOSING = "</{}\\s*>|</\\s+{}\\s*>"
DEPTH_CAP = 16


def read_elements(text: str, schema: Schema) -> dict[str, Any]:
    """Read a call's arguments from elements named after the parameters. Raises `BadTagsError`."""
    if not text.strip():
        return {}
    return _children(text, schema, None, 0)


def _children(text: str, schema: Schema, wanted: Mapping[str, Any] | None, depth: int) -> dict[str, Any]:
    if depth > DEPTH_CAP:
        raise BadTagsError("it is nested too deeply")
    found: dict[str, list[str]] = {}
    at = 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        match = _ELEMENT.match(text, at)
        if not match:
            raise BadTagsError("text stands between the elements")
        name, at = match.group(1), match.end()
        content = ""
        if not match.group(2):
            content, at = _content(text, at, name)
        found.setdefault(name, []).append(content)
    values: dict[str, Any] = {}
    for name, contents in found.items():
        inner = schema.of(name) if depth == 0 else schema.below(wanted, name)
        values[name] = _element_value(name, contents, schema, inner, depth)
    return values


def _content(text: str, at: int, name: str) -> tuple[str, int]:
    """The element's content ends at the last closing tag before the next element that is not part of it."""
    closing = re.compile(_CLOSING.format(re.escape(name), re.escape(name)))
    for match in closing.finditer(text, at):
        rest = text[match.end() : match.end() + 200].lstrip()
        if not rest or _ELEMENT.match(rest) or rest.startswith("</"):
            return text[at : match.start()], match.end()
    raise BadTagsError(f"{name!r} does not end")


def _element_value(name: str, contents: list[str], schema: Schema, wanted: Mapping[str, Any] | None, depth: int) -> Any:
    types = schema.types(wanted)
    if types == ["array"] or (len(contents) > 1 and not types):
        items = schema.items(wanted)
        return [_single(content, schema, items, depth) for content in contents]
    if len(contents) > 1:
        raise BadTagsError(f"{name!r} stands there more than once")
    return _single(contents[0], schema, wanted, depth)


def _single(content: str, schema: Schema, wanted: Mapping[str, Any] | None, depth: int) -> Any:
    data = _DATA.fullmatch(content)
    if data:
        return schema.read(data.group(1), wanted, loose=False)
    if "<" in content and _ENTITY.search(content):
        raise BadTagsError("it is escaped in part only, so its text is uncertain")
    types = schema.types(wanted)
    if "string" not in types and _ELEMENT.match(content.lstrip()):
        return _children(content, schema, wanted, depth + 1)
    return schema.read(content, wanted, loose=False)


_BLOCK = re.compile(r"[ \t]*([|>]?)([+-]?)[ \t]*\n")
_FOLD = re.compile(r"(?<=\S)\n(?=\S)")


def read_lines(text: str, schema: Schema) -> dict[str, Any]:
    """Read a call's arguments from lines such as `city: Seoul`, as YAML has them. Raises `BadTagsError`."""
    indent = re.escape(text[: len(text) - len(text.lstrip(" \t"))])
    names = "|".join(map(re.escape, schema.names))
    heads = list(re.finditer(rf"^{indent}({names}):(?:[ \t]|$)", text, re.MULTILINE))
    if not heads or heads[0].start() or len({head[1] for head in heads}) < len(heads):
        raise BadTagsError("it is uncertain where a value begins")
    ends = [*(head.start() for head in heads[1:]), len(text)]
    return {
        head[1]: _after_colon(text[head.end() : end], schema, schema.of(head[1]))
        for head, end in zip(heads, ends, strict=True)
    }


def _after_colon(text: str, schema: Schema, wanted: Mapping[str, Any] | None) -> Any:
    line = text.strip()
    if block := _BLOCK.match(text):
        text = dedent(text[block.end() :])
        text = _FOLD.sub(" ", text) if block[1] == ">" else text
        text = text if block[2] == "+" else text.rstrip("\n") + "\n" * (block[2] != "-")
        items = [item.strip() for item in line.splitlines()]
        if not block[1] and all(item.startswith("- ") for item in items):
            return schema.settle([_unquoted(item[2:].strip()) for item in items], wanted)
    elif "\n" not in line:
        text = _unquoted(line)
    return schema.read(text, wanted, loose=True)


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    try:
        value = json.loads(text) if text[:1] == '"' else text
    except ValueError:
        return text
    return str(value)
