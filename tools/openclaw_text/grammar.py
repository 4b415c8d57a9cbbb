"""Calls as models write them, each notation told by how it stands there and not by what was announced."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.openclaw_text import formats
from tools.openclaw_text.gemma_text import BadGemmaError, read_object
from tools.openclaw_text.json_text import BadJSONError, read_json
from tools.openclaw_text.openers import CALL_OBJECT, CLOSERS, HEADS, SPELLED, WRAPPERS, Token, tags
from tools.openclaw_text.patterns import whole
from tools.openclaw_text.python_text import BadPythonError, PythonCall, calls_in, read_brackets
from tools.openclaw_text.tag_text import (
    CLOSES,
    FUNCTION_HEAD,
    BadTagsError,
    read_elements,
    read_lines,
    read_parameters,
    read_tag,
)
from tools.openclaw_text.tag_tree import BARE_CAP, OPENING, Spelling, Tree, attributes, told
from tools.openclaw_text.tape import Steps, Tape
from tools.openclaw_text.toolbox import BrokenCallError, Item, NotACallError, Toolbox

WRAPPERS_CAP = 4
HEAD_CAP = 400
TAG_CAP = 100


_WRAPPER = Token.of(*WRAPPERS)
_HEADS = Token.of(*HEADS)
_SPELLED = Token.of(*SPELLED)
_SEPARATED = re.compile("|".join(map(whole, tags(formats.SEPARATED_WRAPPERS))), re.IGNORECASE)
_SECTION = re.compile("|".join(map(whole, tags(formats.SECTION_WRAPPERS))), re.IGNORECASE)
_CLOSER = Token.of(*CLOSERS)
_SEPARATOR = Token.of(*tags(formats.SEPARATORS))
_FENCE = re.compile(r"(?:`{3,16}|~{3,16})[ \t]{0,8}[\w-]{0,20}[ \t]{0,8}\n?")
_CALL_ID = re.compile(r"\[CALL_ID\]\s{0,8}[\w-]{1,64}\s{0,8}")
_HEAD = re.compile(r"[^\s<>\[\](){}\"'`,;=]{0,120}")
_LINE_NUMBER = re.compile(r"\d{1,3}[:.)]?")
_ELEMENT = re.compile(r"<([\w.:-]{1,64})>")
_ARGUMENTS = Token.of(*tags(f"<{key}>" for key in formats.ARGUMENT_KEYS))
_NAME_TAG = re.compile(r"<name>\s{0,8}([^<>]{1,120}?)\s{0,8}</name>")
_LIST_HEAD = re.compile(r"\[\s{0,64}([\w.:-]{1,120})\s{0,16}([(,])")
_LIST_BEGUN = re.compile(r"\[\s{0,64}(?:[\w.:-]{1,120}\s{0,16})?\Z")
_ARGUMENTS_BEGUN = re.compile(rf"[\"']?(?:{'|'.join(formats.ARGUMENT_KEYS)})[\"']?\s*:")
_CALL_TYPES = ("function", "tool_use", "tool_call", "function_call")
_PYTHON_HEAD = re.compile(r"(?:print\s{0,4}\(\s{0,4})?([\w.]{1,120})\s{0,4}\(")
_PYTHON_BEGUN = re.compile(r"(?:print\s{0,4}\(\s{0,4})?(?:[\w.]{1,120}\s{0,4})?\Z")
_FENCE_MARKS = re.compile(r"`{3,}|~{3,}")
_NO_FENCE_MARK = re.compile(r"[^`~]")
_LINE_END = re.compile(r"\n")
_CHANNEL_HEAD = re.compile(
    r"(?:<[|｜](?:start|channel)[|｜]>|to=[\w.:-]{1,64}(?=<))[^{}]{0,300}?(?:<[|｜]message[|｜]>|\{)", re.IGNORECASE
)
_RECIPIENT = re.compile(r"to=(?:functions\.)?([\w.:-]+)")
_CODE = re.compile(r"\b(?:code|json)\s*\{\Z")


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a harmony message and the name it is addressed to."""

    text: str
    recipient: str | None
    #: Whether the message is a thought.
    thinks: bool


@dataclass(slots=True)
class Grammar:
    """Reads calls from a tape. `hard` says that a call was announced, so that a broken one is a broken call."""

    tape: Tape
    toolbox: Toolbox
    fenced: bool = field(default=False)
    #: Whether a call stands right before.
    beside_call: bool = field(default=False)
    #: Whether the object that was read has only a name.
    bare: bool = field(default=False)
    #: The positions of the objects, read last, that have only a name and are no calls.
    barren: range = field(default=range(0))

    def read(self, *, hard: bool, wrapper: str = "") -> Steps[list[Item]]:
        """Read one call, or one list of calls, from behind its `wrapper` if it has one.

        Raises `NotACallError` when no declared tool is called and `BrokenCallError` when one is and cannot be.
        """
        for _ in range(WRAPPERS_CAP):
            char = yield from self.tape.peek()
            if wrapper[1:2] in ("|", "｜", " ") and (not char or (yield from self.closer())):
                return []
            if char == "{":
                return (yield from self._objects(hard=hard))
            if char == "[" and not (yield from self._wrapper()):
                return (yield from self._list(hard=hard))
            if char == "<" and (inner := (yield from self._wrapper())):
                wrapper = inner
            elif char in ("<", "]"):
                return (yield from self._tagged())
            elif char in "`~":
                yield from self._fence()
            elif _SECTION.fullmatch(wrapper):
                break
            elif char != "[":
                return (yield from self._named(wrapper))
        raise NotACallError

    def _wrapper(self) -> Steps[str]:
        found = yield from self.tape.token(_WRAPPER)
        return found.text if found else ""

    def _fence(self) -> Steps[None]:
        tape = self.tape
        while "\n" not in tape.text[tape.at :] and len(tape.text) - tape.at < 60 and (yield from tape.more()):
            pass
        match = _FENCE.match(tape.text, tape.at)
        if not match:
            raise NotACallError
        tape.at = match.end()
        self.fenced = True

    # JSON

    def _objects(self, *, hard: bool) -> Steps[list[Item]]:
        """Read an object, and further ones while they have only a name: such a one is a call beside others."""
        found: list[Item] = []
        start = self.tape.position
        while True:
            self.bare = False
            found += yield from self._object(hard=hard)
            if hard or not self.bare or self.beside_call:
                return found
            char = yield from self.tape.peek()
            self.barren = range(start, self.tape.position)
            if char != "{":
                raise NotACallError

    def _object(self, *, hard: bool) -> Steps[list[Item]]:
        tape = self.tape
        if not hard:
            yield from self._key_of_call()
        start = tape.hold()
        check = _Entries(self.toolbox, hard=hard)
        try:
            value = yield from read_json(tape, check.entry)
        except BadJSONError as error:
            if check.name and (hard or _ARGUMENTS_BEGUN.search(tape.since(start))):
                raise BrokenCallError(check.name, f"the call is not valid JSON: {error}") from error
            raise NotACallError from error
        finally:
            tape.release()
        return self._from_json(value, hard=hard)

    def _key_of_call(self) -> Steps[None]:
        """Make sure that an object begins as a call does, so that no other is waited for."""
        found = yield from self.tape.token(CALL_OBJECT)
        if not found:
            raise NotACallError
        self.tape.at -= len(found.text)

    def _from_json(self, value: Any, *, hard: bool) -> list[Item]:
        if not isinstance(value, dict):
            raise NotACallError
        listed = value.get("tool_calls")
        if isinstance(listed, list):
            return [item for entry in listed for item in self._from_json(entry, hard=hard)]
        inner = value.get("function")
        if isinstance(inner, dict):
            beside = {key: value[key] for key in formats.ARGUMENT_KEYS if key in value}
            return self._from_json({**beside, **inner}, hard=hard)
        written = next((value[key] for key in formats.NAME_KEYS if isinstance(value.get(key), str)), None)
        if written is None and hard and len(value) == 1:
            return self._from_pair(*next(iter(value.items())))
        name = self.toolbox.declared(written)
        key = next((key for key in formats.ARGUMENT_KEYS if key in value), None)
        if key is None and not hard:
            self.bare = len(value) == 1 and not self.toolbox.schema(name).required
            if not self.bare:
                raise NotACallError
        given = value[key] if key else {}
        if self._is_definition(name, value, given):
            raise NotACallError
        return [self._call(name, self._arguments(name, given))]

    def _from_pair(self, written: str, given: Any) -> list[Item]:
        name = self.toolbox.declared(written)
        if not isinstance(given, dict):
            raise NotACallError
        return [self._call(name, given)]

    def _is_definition(self, name: str, value: Mapping[str, Any], given: Any) -> bool:
        """Whether this is the tool's definition, quoted, and no call."""
        names = self.toolbox.schema(name).names
        if not isinstance(given, dict) or "properties" in names:
            return False
        schema = given.get("type") == "object" and isinstance(given.get("properties"), dict)
        return schema or ("description" in value and "type" in given and "type" not in names)

    def _arguments(self, name: str, given: Any) -> dict[str, Any]:
        if given is None or given == "":
            return {}
        if isinstance(given, str):
            given = read_all(given)
        if not isinstance(given, dict):
            raise BrokenCallError(name, "the arguments are not a JSON object")
        return given

    def _call(self, name: str, values: Mapping[str, Any]) -> Item:
        try:
            return self.toolbox.call(name, values)
        except BrokenCallError as error:
            return error

    # lists

    def _list(self, *, hard: bool) -> Steps[list[Item]]:
        tape = self.tape
        while not (match := _LIST_HEAD.match(tape.text, tape.at)):
            if not _LIST_BEGUN.match(tape.text, tape.at) or not (yield from tape.more()):
                break
        if not match:
            return (yield from self._array(hard=hard))
        if match.group(2) == "(":
            return (yield from self._python("", hard=hard))
        tape.at = match.end()
        name = self.toolbox.declared(match.group(1))
        if (yield from tape.peek()) != "{":
            raise NotACallError
        values = yield from self._json_arguments(name)
        while (yield from tape.peek()) in ("}", "]"):
            tape.at += 1
        return [self._call(name, values)]

    def _array(self, *, hard: bool) -> Steps[list[Item]]:
        """Read an array of calls one by one, so that a bad one does not spoil the others after a hard opener."""
        tape = self.tape
        tape.at += 1
        found: list[Item] = []
        while (char := (yield from tape.peek())) in (",", "{"):
            if char == ",":
                tape.at += 1
                continue
            try:
                found += yield from self._element(hard=hard)
            except BrokenCallError as error:
                return [*found, error]
            except NotACallError:
                if not hard or tape.spent:
                    raise
        if char == "]":
            tape.at += 1
        elif not hard and char:
            raise NotACallError
        if not found:
            raise NotACallError
        return found

    def _element(self, *, hard: bool) -> Steps[list[Item]]:
        """Read one call of an array; after a hard opener, leave the tape behind it even if it is none."""
        tape = self.tape
        start = tape.hold()
        try:
            self.bare = False
            found = yield from self._object(hard=hard)
            if self.bare:
                raise NotACallError
            return found
        except NotACallError:
            if hard and tape.try_again(start):
                yield from self._skip_brackets()
            raise
        finally:
            tape.release()

    def _skip_brackets(self) -> Steps[None]:
        try:
            yield from read_brackets(self.tape)
        except BadPythonError as error:
            raise NotACallError from error

    # Python

    def _python(self, prefix: str, *, hard: bool) -> Steps[list[Item]]:
        try:
            source = prefix + (yield from read_brackets(self.tape))
        except BadPythonError as error:
            raise self._python_failure(prefix, error, hard=hard) from error
        return self.from_python(source, hard=hard)

    def from_python(self, source: str, *, hard: bool) -> list[Item]:
        """Read the calls of a Python expression. Raises as `read` does."""
        try:
            calls = calls_in(source)
        except BadPythonError as error:
            raise self._python_failure(source, error, hard=hard) from error
        found: list[Item] = []
        for call in calls:
            name = self.toolbox.resolve(call.name)
            if name:
                found.append(self._from_call(name, call))
            elif not hard:
                raise NotACallError
        if not found:
            raise NotACallError
        return found

    def _python_failure(self, source: str, error: BadPythonError, *, hard: bool) -> Exception:
        head = re.match(r"[^\w.]*(?:print\s*\(\s*)?([\w.]+)\s*\(", source)
        name = self.toolbox.resolve(head.group(1)) if head else None
        return BrokenCallError(name, f"the call cannot be read: {error}") if name and hard else NotACallError()

    def _from_call(self, name: str, call: PythonCall) -> Item:
        names = self.toolbox.schema(name).names
        values = dict(zip(names, call.positional, strict=False))
        if len(call.positional) > len(names) or values.keys() & call.keywords.keys():
            return BrokenCallError(name, "the positional arguments do not fit the parameters")
        return self._call(name, {**values, **call.keywords})

    # tags

    def _tagged(self) -> Steps[list[Item]]:
        if found := (yield from self.tape.token(_SPELLED)):
            self.tape.at -= len(found.text)
            return (yield from self.spelled(held=True))
        named = yield from self._name_tag()
        if named:
            return (yield from self._body(self.toolbox.declared(named)))
        head = yield from read_tag(self.tape, FUNCTION_HEAD)
        if not head:
            element = yield from read_tag(self.tape, _ELEMENT)
            return (yield from self.elements(element.group(1) if element else ""))
        name = self.toolbox.declared(head.group(1))
        return [self._call(name, {})] if head.group(2) else (yield from self._body(name))

    def _name_tag(self) -> Steps[str]:
        if not self.tape.text.startswith("<name"[: len(self.tape.text) - self.tape.at], self.tape.at):
            return ""
        match = yield from read_tag(self.tape, _NAME_TAG)
        return match.group(1) if match else ""

    def _body(self, name: str) -> Steps[list[Item]]:
        """Read the arguments of a call whose name was a tag: an object, or parameters, or none before its end."""
        tape = self.tape
        char = yield from tape.peek()
        if char == ">":
            # `<function=<function=f>>`
            tape.at += 1
            char = yield from tape.peek()
        if char in "`~" and char:
            yield from self._fence()
            char = yield from tape.peek()
        if char == "<" and (yield from tape.token(_ARGUMENTS)):
            char = yield from tape.peek()
        if char == "{":
            return [self._call(name, (yield from self._json_arguments(name)))]
        if char not in ("", "<"):
            raise NotACallError
        schema = self.toolbox.schema(name)
        try:
            values = yield from read_parameters(tape, schema)
        except BadTagsError as error:
            raise BrokenCallError(name, str(error)) from error
        if not values and not (yield from self._closes()):
            raise NotACallError
        return [self._call(name, values)]

    def _closes(self) -> Steps[bool]:
        """Whether the call is closed here, or another one opened."""
        if (yield from self.tape.peek()) != "<":
            return False
        while not (found := CLOSES.match(self.tape.text, self.tape.at)):
            if len(self.tape.text) - self.tape.at > TAG_CAP or not (yield from self.tape.more()):
                break
        return found is not None

    def elements(self, written: str) -> Steps[list[Item]]:
        """Read a call that is an element of the tool's name, from behind its opening tag."""
        name, tape = self.toolbox.declared(written), self.tape
        schema = self.toolbox.schema(name)
        start = tape.hold()
        try:
            tagged = (yield from tape.peek()) == "<"
            indent = tape.since(start).rpartition("\n")[2]
        finally:
            tape.release()
        if not (tagged or (yield from self._begins_with(f"{parameter}:" for parameter in schema.names))):
            raise NotACallError
        source = yield from self._until(re.compile(rf"</\s{{0,4}}{re.escape(name)}\s{{0,4}}>"))
        try:
            return self._element_call(
                name, read_elements(source, schema) if tagged else read_lines(indent + source, schema)
            )
        except BadTagsError as error:
            raise NotACallError from error

    def _until(self, closing: re.Pattern[str], *, ended: bool = False) -> Steps[str]:
        """Read to what closes here, and behind it; to the end of the text where that is enough."""
        tape = self.tape
        start = tape.hold()
        try:
            while not (match := closing.search(tape.text, tape.at)):
                tape.at = max(tape.at, len(tape.text) - 160)
                if not (yield from tape.more(_TAG_END)):
                    if not ended:
                        raise NotACallError
                    tape.at = len(tape.text)
                    return tape.since(start)
            tape.at = match.start()
            source = tape.since(start)
            tape.at = match.end()
            return source
        finally:
            tape.release()

    # tags in another spelling

    def spelled(self, *, held: bool) -> Steps[list[Item]]:
        """Read a call in tags of another spelling, or the tags that hold calls and the first of them.

        What stands in no such tags, and is not `held` otherwise, is no call without arguments.
        """
        tape = self.tape
        tape.hold()
        try:
            for _ in range(WRAPPERS_CAP):
                head = yield from read_tag(tape, OPENING)
                if not head:
                    break
                spelling, opening = told(head.group())
                if named := attributes(opening).get("tool") or attributes(opening).get("name"):
                    self.toolbox.declared(named)
                end = spelling.end_of(opening)
                body = tape.position
                inner = None
                if (yield from tape.peek()) in ("<", "]"):
                    inside = tape.position
                    yield from self._bare_tag(spelling)
                    if not (inner := (yield from read_tag(tape, spelling.any))):
                        raise NotACallError
                    if opening["word"].lower() in formats.HOLDER_WORDS and end.fullmatch(inner.group()):
                        return []
                    tape.rewind(inside)
                held = held or not attributes(opening)
                if opening["word"].lower() in formats.CALL_WORDS and not (
                    inner and (inner["word"] or "").lower() in formats.CALL_WORDS
                ):
                    tape.rewind(body)
                    source = yield from self._until(end, ended=True)
                    if not (held or source.strip()):
                        raise NotACallError
                    return [self._spelled_call(source, spelling, opening)]
            raise NotACallError
        finally:
            tape.release()

    def _bare_tag(self, spelling: Spelling) -> Steps[None]:
        """Wait for what tells whether a closing tag without its mark, if one stands here, counts."""
        tape = self.tape
        while spelling.bare and len(tape.text) - tape.at < BARE_CAP:
            if not tape.text.startswith("</"[: len(tape.text) - tape.at], tape.at) or not (yield from tape.more()):
                break

    def _spelled_call(self, source: str, spelling: Spelling, opening: re.Match[str]) -> Item:
        tree = Tree(source, spelling, opening)
        written = tree.name()
        if written.startswith("{"):
            return self._from_json(read_all(written), hard=True)[0]
        name = self.toolbox.declared(written)
        if tree.cut_off:
            raise BrokenCallError(name, "the text ends in a value")
        given = tree.json()
        return self._call(name, self._arguments(name, given) if given else tree.arguments(self.toolbox.schema(name)))

    # a name and what follows it

    def _named(self, wrapper: str) -> Steps[list[Item]]:
        separated = bool(_SEPARATED.fullmatch(wrapper))
        gemma = wrapper in ("<|tool_call>", "<start_function_call>")
        written = yield from self._word()
        if _LINE_NUMBER.fullmatch(written) or written == "call:":
            yield from self.tape.peek()
            written = yield from self._word()
        if not written:
            raise NotACallError
        on_line = yield from self._gap()
        char = self.tape.text[self.tape.at : self.tape.at + 1]
        if (gemma or written.startswith("call:")) and char and char in "{(":
            return (yield from self._gemma(written.removeprefix("call:")))
        if char == "(" and on_line and not separated:
            return (yield from self._python(written, hard=True))
        if char in "<[" and (yield from self._separator()):
            return (yield from self._separated(written))
        if char == "{" and not separated:
            return (yield from self._with_object(written))
        if char == "<" and not separated:
            return (yield from self._with_tags(written))
        raise NotACallError

    def _word(self) -> Steps[str]:
        tape = self.tape
        while True:
            match = _HEAD.match(tape.text, tape.at)
            end = match.end() if match else tape.at
            if end < len(tape.text) or not (yield from tape.more()):
                break
        word = tape.text[tape.at : end]
        tape.at = end
        return word

    def _gap(self) -> Steps[bool]:
        """Skip white space; true when no line ended in it."""
        tape = self.tape
        start = tape.hold()
        try:
            yield from tape.peek()
            return "\n" not in tape.since(start)
        finally:
            tape.release()

    def _separator(self) -> Steps[bool]:
        tape = self.tape
        while tape.text.startswith("[CALL_ID]"[: len(tape.text) - tape.at], tape.at):
            if match := _CALL_ID.match(tape.text, tape.at):
                if match.end() == len(tape.text) and (yield from tape.more()):
                    continue
                tape.at = match.end()
                break
            if not (yield from tape.more()):
                return False
        return bool((yield from tape.token(_SEPARATOR)))

    def _separated(self, written: str) -> Steps[list[Item]]:
        """Read what stands behind a separator. DeepSeek writes the word `function` first and the name behind it."""
        tape = self.tape
        yield from tape.token(_SEPARATOR)
        char = yield from tape.peek()
        if written == "function" and not self.toolbox.resolve(written) and char == "<":
            return (yield from self._tagged())
        if written == "function" and char not in "{`<":
            written = yield from self._word()
            char = yield from tape.peek()
        if char in "`~" and char:
            yield from self._fence()
            char = yield from tape.peek()
        if char == "{":
            return (yield from self._with_object(written))
        if char == "<":
            return (yield from self._with_tags(written))
        raise NotACallError

    def _with_object(self, written: str) -> Steps[list[Item]]:
        name = self.toolbox.declared(written)
        return [self._call(name, (yield from self._json_arguments(name)))]

    def _with_tags(self, written: str) -> Steps[list[Item]]:
        """Read a bare name behind which parameters stand, or elements, or nothing but the closer."""
        name = self.toolbox.declared(written)
        if (yield from self._closes()):
            return [self._call(name, {})]
        if (yield from self._begins_with(f"<{parameter}>" for parameter in self.toolbox.schema(name).names)):
            return (yield from self._loose_elements(name))
        return (yield from self._body(name))

    def _begins_with(self, heads: Iterable[str]) -> Steps[bool]:
        tape, known = self.tape, tuple(heads)
        longest = max(map(len, known), default=0)
        while len(tape.text) - tape.at < longest and (yield from tape.more()):
            pass
        return tape.text.startswith(known, tape.at)

    def _loose_elements(self, name: str) -> Steps[list[Item]]:
        source = yield from self._until(re.compile(rf"</\s{{0,4}}(?:{re.escape(name)}|tool_call)\s{{0,4}}>"))
        try:
            values = read_elements(source, self.toolbox.schema(name))
        except BadTagsError as error:
            raise NotACallError from error
        stripped = {key: value.strip("\n") if isinstance(value, str) else value for key, value in values.items()}
        return [self._call(name, stripped)]

    def _gemma(self, written: str) -> Steps[list[Item]]:
        """Read arguments in Gemma's notation, or in JSON where that is what stands there."""
        name, tape = self.toolbox.declared(written), self.tape
        start = tape.hold()
        try:
            while len(tape.text) - tape.at < len('{"') and (yield from tape.more()):
                pass
            if tape.text.startswith('{"', tape.at):
                try:
                    return [self._call(name, (yield from read_json(tape)))]
                except BadJSONError as error:
                    if not tape.try_again(start):
                        raise BadGemmaError(str(error)) from error
            return [self._call(name, (yield from read_object(tape)))]
        except BadGemmaError as error:
            raise BrokenCallError(name, f"the call cannot be read: {error}") from error
        finally:
            tape.release()

    def _json_arguments(self, name: str) -> Steps[dict[str, Any]]:
        try:
            value = yield from read_json(self.tape)
        except BadJSONError as error:
            raise BrokenCallError(name, f"the arguments are not valid JSON: {error}") from error
        return self._arguments(name, value)

    # what the reader has told by its opener

    def object_of(self, written: str, *, known: bool = False) -> Steps[list[Item]]:
        """Read the object of arguments that stands here as a call of that name; all in it may have to be `known`."""
        name = self.toolbox.declared(written)
        if (yield from self.tape.peek()) != "{":
            raise NotACallError
        values = yield from self._json_arguments(name)
        if known and not values.keys() <= set(self.toolbox.schema(name).names):
            raise NotACallError
        return [self._call(name, values)]

    def message(self, written: str) -> Steps[list[Item]]:
        """Read a message to a tool: its arguments, or the whole call once more."""
        name = self.toolbox.declared(written)
        if (yield from self.tape.peek()) != "<":
            return (yield from self.object_of(name))
        if (yield from self._wrapper()) or (yield from self.tape.token(_HEADS)):
            self.tape.at = self.tape.text.rindex("<", 0, self.tape.at)
            return (yield from self.read(hard=True))
        return (yield from self._body(name))

    def bracketed(self, written: str, *, closed: bool) -> Steps[list[Item]]:
        """Read OpenClaw's `[name]` or `[tool:name]` from behind it. `closed` says that the closer is required."""
        name = self.toolbox.declared(written)
        tags = self.tape.text.startswith("<", self.tape.at)
        items = yield from (self._body(name) if tags else self.object_of(name))
        closer = (
            Token.of("</function>")
            if tags
            else Token.of("[END_TOOL_REQUEST]", f"[/{name}]", f"[/tool:{name}]", "<|call|>")
        )
        yield from self.tape.peek()
        found = yield from self.tape.token(closer)
        if closed and not found:
            raise NotACallError
        return items

    def empty_element(self, written: str) -> Steps[list[Item]]:
        """A call that is an empty element."""
        yield from ()
        return self._element_call(self.toolbox.declared(written), {})

    def _element_call(self, name: str, values: dict[str, Any]) -> list[Item]:
        """A call that nothing announced is one only if all that is in it is known to the tool."""
        schema = self.toolbox.schema(name)
        if schema.names and not values.keys() <= set(schema.names):
            raise NotACallError
        item = self._call(name, values)
        if isinstance(item, BrokenCallError) and not values:
            raise NotACallError
        return [item]

    def action_input(self, written: str) -> Steps[list[Item]]:
        """Read the input of a ReAct action: an object, or a line of text for the only parameter."""
        name = self.toolbox.declared(written)
        if (yield from self.tape.peek()) == "{":
            return [self._call(name, (yield from self._json_arguments(name)))]
        while (end := self.tape.text.find("\n", self.tape.at)) < 0 and (yield from self.tape.more(_LINE_END)):
            pass
        end = len(self.tape.text) if end < 0 else end
        line = self.tape.text[self.tape.at : end].strip()
        self.tape.at = end
        names = self.toolbox.schema(name).required or self.toolbox.schema(name).names
        if not line or line in ("None", "null"):
            return [self._call(name, {})]
        if len(names) != 1:
            raise BrokenCallError(name, "the action input is not a JSON object")
        return [self._call(name, {names[0]: line.strip("\"'")})]

    def only_python(self) -> Steps[list[Item]]:
        """Read Python calls that are all there is up to the end of the text."""
        found: list[Item] = []
        while (yield from self.tape.peek()):
            written = self.toolbox.declared((yield from self._word()))
            if (yield from self.tape.peek()) != "(":
                raise NotACallError
            found += yield from self._python(written, hard=False)
        return found

    def begins_with_python(self) -> Steps[bool]:
        """Whether a Python call of a declared tool begins here, printed or not."""
        tape = self.tape
        while not (match := _PYTHON_HEAD.match(tape.text, tape.at)) or match.group(1) == "print":
            if not _PYTHON_BEGUN.match(tape.text, tape.at) or not (yield from tape.more()):
                return False
        return self.toolbox.resolve(match.group(1)) is not None

    def closer(self) -> Steps[bool]:
        """Read a closer if one stands here."""
        return bool((yield from self.tape.token(_CLOSER)))

    def fence_end(self) -> Steps[None]:
        """Read the end of a fence that began behind an opener."""
        self.fenced = False
        tape = self.tape
        while tape.text[tape.at] * (len(tape.text) - tape.at) == tape.text[tape.at :] and (
            yield from tape.more(_NO_FENCE_MARK)
        ):
            pass
        match = _FENCE_MARKS.match(tape.text, tape.at)
        tape.at = match.end() if match else tape.at

    def channel_head(self) -> Steps[Head | None]:
        """Read the head of a harmony message up to its text; None when this is none."""
        tape = self.tape
        while not (match := _CHANNEL_HEAD.match(tape.text, tape.at)):
            if len(tape.text) - tape.at > HEAD_CAP or not (yield from tape.more()):
                return None
        recipient = _RECIPIENT.search(match.group())
        if match.group().endswith("{"):
            if not recipient or not _CODE.search(match.group()):
                return None
            tape.at = match.end() - 1
        else:
            tape.at = match.end()
        to = recipient.group(1) if recipient else "user" if "final" in match.group() else None
        return Head(tape.text[match.start() : tape.at], to, to == "self" or (not to and "analysis" in match.group()))


class _Entries:
    """Watches the entries of a call in JSON, and ends the reading of what is none."""

    def __init__(self, toolbox: Toolbox, *, hard: bool) -> None:
        self.toolbox = toolbox
        self.hard = hard
        self.name: str | None = None

    def entry(self, key: str, value: Any) -> None:
        """Take the next entry. Raises `NotACallError`."""
        if self.name is not None:
            return
        if key in formats.NAME_KEYS and isinstance(value, str):
            self.name = self.toolbox.declared(value)
        elif key == "function" and isinstance(value, dict):
            self.name = self.toolbox.declared(next((value[k] for k in formats.NAME_KEYS if k in value), None))
        elif not self.hard and (key not in formats.CALL_KEYS or (key == "type" and value not in _CALL_TYPES)):
            raise NotACallError


_TAG_END = re.compile(">")


def read_all(text: str) -> Any:
    """Read JSON that is all there. None when it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _read_tolerantly(text)


def _read_tolerantly(text: str) -> Any:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    tape = Tape(len(text) + 1)
    tape.text, tape.ended = text.strip(), True
    try:
        return run(lambda: read_json(tape))
    except BadJSONError:
        return None


def run[Result](grammar: Callable[[], Steps[Result]]) -> Result:
    """Run a grammar on a tape that has ended."""
    steps = grammar()
    try:
        while True:
            next(steps)
    except StopIteration as end:
        result: Result = end.value
        return result
