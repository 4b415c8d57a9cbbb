"""Reads what a model writes: text to show, and calls of the declared tools in whatever notation they come."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tools.openclaw_text import formats
from tools.openclaw_text.events import (
    ArgumentsDelta,
    BrokenCall,
    CallFinished,
    CallStarted,
    CallsWithdrawn,
    Event,
    Text,
    TooMuch,
)
from tools.openclaw_text.fences import Fence, read_fence_head
from tools.openclaw_text.grammar import Grammar
from tools.openclaw_text.openers import CLOSERS, HEADS, SPELLED, THOUGHT_MARKS, WRAPPERS, Found, Openers, Token, tags
from tools.openclaw_text.tape import Steps, Tape, TooLongError
from tools.openclaw_text.toolbox import BrokenCallError, Call, Item, NotACallError, Toolbox

#: The characters that a call may hold, as in OpenClaw.
PAYLOAD_CAP = 256_000
CALLS_CAP = 128
SLICE = 4096
#: The blanks that may stand before what must begin a line.
BLANKS_CAP = 32
_CONTEXT = 64

_TRIGGER = re.compile(r"[<\[{\n>\]◁]")
_THOUGHT_TRIGGER = re.compile(r"[<\[\]◁]")
_TAG_END = re.compile(r"[>\]▷]")
_LINE_END = re.compile(r"\n")
_CODE_END = re.compile(r"[`\n]")
_AT_LINE = re.compile(r"\n([ \t]{0,32})\Z")
# What stands before a JSON value that is part of something larger, or quoted.
_NESTED = re.compile(r"(?:[\"']\s*:|[,\[{(=`\\]|<(?:code|pre|td)>)\s*\Z")
# What stands before an index or a type's parameters.
_INDEXED = re.compile(r"(?<!functools)(?<=[A-Za-z0-9_)\]])\Z")
# Behind a backtick, or in a line of a block quote.
_QUOTED = re.compile(r"(?:^|[^`])`\Z|\n[ \t]{0,3}>[ \t][^\n]*\Z")
_QUOTABLE = ("wrapper", "spelled", "function", "object", "array", "python", "pair", "element", "thought", "thought_end")
# What stands behind a call on its line: words, or an end.
_BETWEEN = r"[ \t\u00a0,;:!?)—–…→#_，。；：、\]-]{0,32}+"
_LINE_GOES_ON = re.compile(rf"{_BETWEEN}(?:[^\W_]|[\"'’”»|*(])")
_LINE_ENDS = re.compile(rf"{_BETWEEN}[\s\S]")
_SEPARATOR = re.compile(r"[;,]\s{0,60}(?=[{\[<])")
_CLOSER = Token.kinds(
    {
        "result": tags(formats.RESULTS),
        "closer": CLOSERS,
    }
)
_HALF_CLOSER = re.compile(r"</|<[|｜]|\[/|\]<")
_OBSERVATION = Token.of(("Observation:",))
_EDGE = Token.kinds(
    {
        "closer": CLOSERS,
        "opener": [*WRAPPERS, *HEADS, *SPELLED],
    }
)


class Reader:
    """Reads a model's text as it comes.

    `tools` are tool definitions in OpenAI's form. Only their names can be called, each call's arguments are typed by
    the tool's schema and checked against it. Nothing that a model writes raises an error, the events do not depend on
    how the text is cut (but for where a `Text` is), and the time is linear in its length.
    """

    def __init__(self, tools: Iterable[Mapping[str, Any]]) -> None:
        self._toolbox = Toolbox(tools)
        self._openers = Openers.of(frozenset(self._toolbox.names))
        self._tape = Tape(PAYLOAD_CAP)
        self._grammar = Grammar(self._tape, self._toolbox)
        self._events: list[Event] = []
        self._calls = 0
        #: The end of what was shown, for what must stand at the beginning of a line or outside a value.
        self._last = "\n"
        #: White space behind a call, which is shown only if text follows.
        self._gap = ""
        self._blank = True
        #: Whether this line speaks of a call.
        self._spoken_of = False
        self._passing = False
        self._waiting: list[str] = []
        self._waiting_size = 0
        self._steps = self._text()
        self._wake = next(self._steps)
        self._closed = False
        self._over = False
        #: Whether the text ended inside a thought, and what calls were found there: where, and how they were written.
        self._open_thought = False
        self._rehearsed: list[tuple[int, str]] = []
        #: Whether there was text outside of thoughts, and whether all calls were announced, on a line of theirs.
        self.spoke = False
        self.announced = True
        self._thinking = False
        #: Whether a thought has ended, and how the calls before that are written.
        self._thought_over = False
        self._raws: list[str] = []
        #: The calls that were read last, and those of them whose tag has closed.
        self._read: list[Item] = []
        self._closed_calls: list[Item] = []

    def feed(self, delta: str) -> list[Event]:
        """Take the next piece of text and return what is certain by now."""
        if self._over:
            return []
        wake = self._wake
        if wake is not None and wake.search(delta) is None:
            if self._passing:
                self._note(delta)
                self._last = (self._last + delta)[-_CONTEXT:]
                return [Text(delta)] if delta else []
            self._waiting.append(delta)
            self._waiting_size += len(delta)
            if self._waiting_size < SLICE:
                return []
            delta = ""
        return self._advance(delta)

    def close(self) -> list[Event]:
        """End the text and return the rest."""
        if self._closed or self._over:
            return []
        self._closed = True
        events = self._advance("")
        try:
            while True:
                self._steps.send(None)
        except StopIteration:
            return events + self._advance("")

    def _advance(self, delta: str) -> list[Event]:
        if self._waiting:
            delta = "".join(self._waiting) + delta
            self._waiting.clear()
            self._waiting_size = 0
        for start in range(0, len(delta), SLICE):
            if self._over:
                break
            self._wake = self._steps.send(delta[start : start + SLICE])
        events, self._events = self._events, []
        return events

    # showing

    def _show(self, text: str) -> None:
        if not text or self._over:
            return
        if self._gap:
            text, self._gap = self._gap + text, ""
        last = self._events[-1] if self._events else None
        if isinstance(last, Text):
            last.text += text
        else:
            self._events.append(Text(text))
        self._last = (self._last + text)[-_CONTEXT:]
        self._note(text)

    def _note(self, text: str) -> None:
        self._spoken_of = self._spoken_of and "\n" not in text
        if not text.isspace():
            self._blank = self._grammar.beside_call = False
            self.spoke = self.spoke or not self._thinking

    def _emit(self, items: list[Item], raw: str, *, hard: bool = False) -> None:
        if self._grammar.beside_call and not hard and items == self._closed_calls:
            # Some models repeat what was between the tags, without them.
            return
        self._read, self._closed_calls = items, []
        self.announced = self.announced and hard and _AT_LINE.search(self._last) is not None
        if self._open_thought:
            self._forget_rehearsal()
            self._rehearsed.append((len(self._events), raw))
        if items:
            self._raws.append(raw)
            self._grammar.beside_call = True
        self._gap = ""
        self._last = "\n"
        for item in items:
            if self._over:
                return
            if self._calls >= CALLS_CAP:
                self._too_much(f"it holds more than {CALLS_CAP} calls")
                return
            self._events += _events(self._calls, item, raw)
            self._calls += 1

    def _too_much(self, reason: str) -> None:
        self._events.append(TooMuch(reason))
        self._over = True

    def _too_long(self, start: int, *, hard: bool) -> None:
        """End with an error where what outgrew the cap is a call, else show it."""
        tape = self._tape
        tape.at = len(tape.text)
        name = self._toolbox.named
        if name or hard:
            self._too_much(f"a call{f' of {name}' if name else ''} is longer than {PAYLOAD_CAP:,} characters")
        self._show(tape.since(start))

    def _forget_rehearsal(self) -> None:
        """Take calls for text behind which the thought went on."""
        if not self._rehearsed:
            return
        start, _ = self._rehearsed[-1]
        texts = [event for event in self._events[start:] if isinstance(event, Text)]
        if any(text.text.strip() for text in texts):
            first, raws = self._rehearsed[0][0], "".join(raw for _, raw in self._rehearsed)
            self._calls = 0
            self._events[first:] = [Text(raws), *texts]
            self._rehearsed.clear()

    # text

    def _text(self) -> Steps[None]:
        """Show text until the end, and read what begins with an opener."""
        tape, openers = self._tape, self._openers
        while True:
            blanks = _AT_LINE.search(self._last)
            match = openers.line_candidate.match(tape.text, tape.at) if blanks else None
            if blanks and match and len(blanks.group(1)) + len(match.group()) > BLANKS_CAP:
                match = None
            match = match or openers.candidate.search(tape.text, tape.at)
            end = match.end() if match else len(tape.text)
            self._show(tape.text[tape.at : end])
            tape.at = end
            if match:
                yield from self._candidate()
            elif not (yield from self._sleep(None if _AT_LINE.search(self._last) else _TRIGGER)):
                return

    def _sleep(self, wake: re.Pattern[str] | None) -> Steps[bool]:
        """Wait for more text; what does not match `wake` is shown as it comes."""
        self._passing = wake is not None and not self._gap
        more = yield from self._tape.more(wake if self._passing else None)
        self._passing = False
        return more

    def _candidate(self) -> Steps[None]:
        """Read the opener that may stand here, or show its first character."""
        tape = self._tape
        token = self._openers.by_char.get(tape.text[tape.at], self._openers.line)
        found = yield from tape.token(token)
        if found and found.kind in _QUOTABLE and _QUOTED.search(self._last):
            yield from self._inline_code(found.text)
        elif found:
            read: Callable[[Found], Steps[None]] = getattr(self, f"_{found.kind}")
            yield from read(found)
        else:
            self._show(tape.text[tape.at : tape.at + 1])
            tape.at += 1

    def _attempt(self, opener: str, read: Callable[[], Steps[list[Item]]], *, hard: bool = False) -> Steps[bool]:
        """Read calls from behind `opener`, or go back and show it. True when calls were read."""
        tape = self._tape
        tape.at -= len(opener)
        start = tape.hold()
        tape.at += len(opener)
        self._toolbox.named = None
        try:
            try:
                items = yield from read()
            except BrokenCallError as error:
                items = [error]
                if hard:
                    yield from self._skip_broken()
            self._emit(items, tape.since(start), hard=hard)
            return True
        except NotACallError:
            self._give_back(start)
        except TooLongError:
            self._too_long(start, hard=hard)
        finally:
            tape.release()
        return False

    def _give_back(self, start: int) -> None:
        """Go back to what was no opener and show its first character, or all that is known to be no call."""
        tape, barren = self._tape, self._grammar.barren
        if not tape.try_again(start):
            self._show(tape.since(start))
            return
        behind = tape.at + (len(barren) if barren and barren.start == start else 1)
        self._show(tape.text[tape.at : behind])
        tape.at = behind

    def _skip_broken(self) -> Steps[None]:
        """Go to the end of a broken call: behind the next closer, or before the next opener."""
        tape = self._tape
        while True:
            match = _TRIGGER.search(tape.text, tape.at)
            tape.at = match.start() if match else len(tape.text)
            if tape.at == len(tape.text):
                if not (yield from tape.more(_TRIGGER)):
                    return
                continue
            edge = yield from tape.token(_EDGE)
            if edge:
                tape.at -= len(edge.text) if edge.kind == "opener" else 0
                return
            tape.at += 1

    # openers

    def _wrapper(self, found: Found) -> Steps[None]:
        if (yield from self._attempt(found.text, lambda: self._grammar.read(hard=True, wrapper=found.text), hard=True)):
            yield from self._after(hard=True)

    def _inline_code(self, opener: str) -> Steps[None]:
        """Show an opener that is quoted, and what is quoted with it."""
        self._show(opener)
        tape = self._tape
        while not (match := _CODE_END.search(tape.text, tape.at)):
            self._show(tape.text[tape.at :])
            tape.at = len(tape.text)
            if not (yield from self._sleep(_CODE_END)):
                return
        self._show(tape.text[tape.at : match.end()])
        tape.at = match.end()

    def _functools(self, found: Found) -> Steps[None]:
        yield from self._unread("[", found.text, lambda: self._grammar.read(hard=False))

    def _function(self, found: Found) -> Steps[None]:
        yield from self._unread(found.text, found.text, lambda: self._grammar.read(hard=True), hard=True)

    def _soft(self, found: Found) -> Steps[None]:
        """Read a call that nothing announced, unless it stands inside something else."""
        if _NESTED.search(self._last) or (found.text[0] == "[" and _INDEXED.search(self._last)):
            self._show(found.text)
            return
        yield from self._unread(found.text, found.text, lambda: self._said(self._grammar.read(hard=False)))

    def _said(self, read: Steps[list[Item]], *, may_be_amid: bool = False) -> Steps[list[Item]]:
        """Read a call that nothing announced. Amid a line, with words on both sides, it is only spoken of.

        Nor is one of several that a line speaks of run alone.
        """
        tape, begin = self._tape, self._tape.hold()
        is_amid = _AT_LINE.search(self._last) is None
        try:
            items = yield from read
            is_amid = is_amid and not (may_be_amid and "\n" in tape.since(begin))
        finally:
            tape.release()
        while is_amid and not self._spoken_of and not _LINE_GOES_ON.match(tape.text, tape.at):
            if _LINE_ENDS.match(tape.text, tape.at) or not (yield from tape.more()):
                return items
        if is_amid:
            self._spoken_of = True
            raise NotACallError
        return items

    _object = _array = _python = _pair = _soft

    def _unread(
        self, text: str, opener: str, read: Callable[[], Steps[list[Item]]], *, hard: bool = False
    ) -> Steps[None]:
        """Read calls of which `text`, the end of the opener, is part."""

        def from_text() -> Steps[list[Item]]:
            self._tape.at -= len(text)
            return (yield from read())

        if (yield from self._attempt(opener, from_text, hard=hard)):
            yield from self._after(hard=hard)

    def _named(self, found: Found) -> Steps[None]:
        yield from self._bracketed(found, closed=True)

    def _prefixed(self, found: Found) -> Steps[None]:
        yield from self._bracketed(found, closed=False)

    def _bracketed(self, found: Found, *, closed: bool) -> Steps[None]:
        if not _AT_LINE.search(self._last):
            self._show(found.text)
            return
        payload = "{" if found.text.endswith("{") else "<parameter="
        yield from self._unread(payload, found.text, lambda: self._grammar.bracketed(found.name, closed=closed))

    def _harmony(self, found: Found) -> Steps[None]:
        yield from self._unread("{", found.text, lambda: self._grammar.object_of(found.name))

    def _element(self, found: Found) -> Steps[None]:
        read = self._grammar.empty_element if found.text.endswith("/>") else self._grammar.elements
        if (yield from self._attempt(found.text, lambda: self._said(read(found.name), may_be_amid=True))):
            yield from self._after(hard=False)

    def _action(self, found: Found) -> Steps[None]:
        if (yield from self._attempt(found.text, lambda: self._grammar.action_input(found.name))):
            yield from self._after(hard=False)
            yield from self._skip_observation()

    def _skip_observation(self) -> Steps[None]:
        """Drop the observation that the model made up, and what it made of it."""
        tape = self._tape
        if (yield from tape.token(_OBSERVATION)):
            self._gap = ""
            tape.at = len(tape.text)
            while (yield from tape.more()):
                tape.at = len(tape.text)

    def _call(self, found: Found) -> Steps[None]:
        if not self._blank:
            self._show(found.text)
            return
        yield from self._unread(found.text, found.text, self._grammar.only_python)

    def _frame(self, found: Found) -> Steps[None]:
        self._last = "\n"
        yield from ()

    def _channel(self, found: Found) -> Steps[None]:
        """Read the head of a harmony message, and its arguments if it is a call."""
        tape = self._tape
        tape.at -= len(found.text)
        start = tape.hold()
        try:
            head = yield from self._grammar.channel_head()
            tape.rewind(start if head is None else tape.position)
        except TooLongError:
            head = None
        finally:
            tape.release()
        if head is None:
            self._show(tape.text[tape.at : tape.at + 1])
            tape.at += 1
            return
        name = self._toolbox.resolve(head.recipient)
        if name and (yield from self._attempt(head.text, lambda: self._grammar.message(name), hard=True)):
            yield from self._after(hard=True)
        elif not name:
            self._last = "\n"
            if head.thinks or head.recipient == "user":
                yield from self._think(formats.MESSAGE_ENDS, may_call=head.thinks)

    def _spelled(self, found: Found) -> Steps[None]:
        held = bool(self._raws)
        yield from self._unread(found.text, found.text, lambda: self._grammar.spelled(held=held), hard=True)

    def _role(self, found: Found) -> Steps[None]:
        yield from self._unread("", found.text, lambda: self._grammar.read(hard=False))

    def _titled(self, found: Found) -> Steps[None]:
        yield from self._unread("{", found.text, lambda: self._grammar.object_of(found.name))

    def _untitled(self, found: Found) -> Steps[None]:
        if self._blank:
            yield from self._unread("{", found.text, lambda: self._grammar.object_of(found.name, known=True))
        else:
            self._show(found.text)

    def _opening(self, found: Found) -> Steps[None]:
        """Drop the recipient that Functionary names first."""
        if not self._blank or self._calls:
            self._show(found.text)
        yield from ()

    # thoughts

    def _thought(self, found: Found) -> Steps[None]:
        """Show a thought. What is in it is no call, unless the thought never ends."""
        self._thinking = True
        self._show(found.text)
        if not self._open_thought:
            yield from self._think((_end_of_thought(_plain(found.text)),), may_call=True)

    def _think(self, ends: tuple[str, ...], *, may_call: bool) -> Steps[None]:
        """Show text up to one of its `ends`. Calls in it are none, but `may_call` where it never ends."""
        tape = self._tape
        self._thinking = may_call
        while True:
            match = _THOUGHT_TRIGGER.search(tape.text, tape.at)
            end = match.start() if match else len(tape.text)
            self._show(tape.text[tape.at : end])
            tape.at = end
            if not match:
                if not (yield from self._sleep(_THOUGHT_TRIGGER)):
                    return
                continue
            token = yield from tape.token(THOUGHT_MARKS)
            if token and token.kind == "closing" and _plain(token.text) in ends:
                self._end_thought(token.text)
                break
            if token and token.kind == "call" and may_call:
                if not (yield from self._quoted_in_thought(token.text, ends)):
                    return
                break
            self._show(token.text if token else tape.text[tape.at : tape.at + 1])
            tape.at += 0 if token else 1
        self._last, self._blank, self._thought_over = "\n", True, True
        self._thinking = False

    def _end_thought(self, end: str) -> None:
        """Show what ends a thought; a token that ends a message is no text."""
        if _plain(end) in (*formats.FRAMES, *formats.MESSAGE_ENDS):
            self._tape.at -= len(end)
        else:
            self._show(end)

    def _quoted_in_thought(self, opener: str, ends: tuple[str, ...]) -> Steps[bool]:
        """Keep what follows a call's opener in a thought: text if the thought ends, else the call that ended it."""
        tape = self._tape
        tape.at -= len(opener)
        start = tape.hold()
        try:
            while True:
                match = THOUGHT_MARKS.fixed.whole.search(tape.text, tape.at)
                if match and match.lastgroup == "closing" and _plain(match.group()) in ends:
                    break
                tape.at = match.end() if match else max(tape.at, len(tape.text) - _CONTEXT)
                if not match and not (yield from tape.more(_TAG_END)):
                    tape.rewind(start)
                    self._open_thought = True
                    self._last = "\n"
                    return False
            tape.at = match.start()
            self._show(tape.since(start))
            tape.at = match.end()
            self._end_thought(match.group())
        except TooLongError:
            tape.at = len(tape.text)
            self._show(tape.since(start))
            return False
        finally:
            tape.release()
        return True

    def _thought_end(self, found: Found) -> Steps[None]:
        """Show what ends a thought that the prompt began: the calls before it are taken back."""
        yield from ()
        if not (self._thought_over or self._open_thought) and self._raws:
            self._events.append(CallsWithdrawn())
            self._show("".join(self._raws))
            self._calls = 0
        self._show(found.text)
        self._last, self._blank, self._thought_over = "\n", True, True

    # fences

    def _fence(self, found: Found) -> Steps[None]:
        """Read a fence that is a call as a whole, or show it; nothing in it is a call then."""
        tape = self._tape
        tape.at -= len(found.text)
        start = tape.hold()
        fence: Fence | None = None
        self._toolbox.named = None
        try:
            fence = yield from read_fence_head(tape)
            if fence:
                self._emit((yield from fence.read(self._grammar)), tape.since(start))
                fence = None
                yield from self._after(hard=False)
                return
            tape.rewind(start)
        except NotACallError:
            if not tape.try_again(start):
                self._show(tape.since(start))
                return
        except BrokenCallError as error:
            yield from fence.skip(tape) if fence else ()
            self._emit([error], tape.since(start))
            return
        except TooLongError:
            self._too_long(start, hard=False)
            return
        finally:
            tape.release()
        self._show(tape.text[tape.at : tape.at + len(found.text)])
        tape.at += len(found.text)
        if fence:
            yield from self._fence_text(fence)

    def _fence_text(self, fence: Fence) -> Steps[None]:
        """Show what is in a fence, up to and with its end."""
        tape = self._tape
        while True:
            end = tape.text.find("\n", tape.at) + 1
            self._show(tape.text[tape.at : end or len(tape.text)])
            tape.at = end or len(tape.text)
            if not end:
                if not (yield from self._sleep(_LINE_END)):
                    return
                continue
            if closing := (yield from tape.token(fence.end)):
                self._show(closing.text)
                return

    # behind a call

    def _after(self, *, hard: bool) -> Steps[None]:
        """Swallow what belongs to the calls that were read: closers, invented results, and further calls."""
        tape, announced = self._tape, hard
        while True:
            gap = yield from self._space()
            char = tape.text[tape.at : tape.at + 1]
            token = yield from tape.token(_CLOSER)
            if token and token.kind == "result":
                yield from self._skip_result(formats.RESULTS[token.text.lower()])
            elif token:
                announced = False
                self._closed_calls = self._read if hard else []
            elif tape.ended and _HALF_CLOSER.match(tape.text, tape.at) and _CLOSER.may_stand(tape.text, tape.at):
                tape.at = len(tape.text)
            elif self._grammar.fenced and char in "`~" and char:
                yield from self._grammar.fence_end()
            elif hard and not gap and char in "}]" and char:
                tape.at += 1
            elif (yield from self._separates()):
                continue
            elif announced and _begins_call(char):
                self._gap = gap
                if not (yield from self._attempt("", lambda: self._grammar.read(hard=True))):
                    return
            else:
                self._gap = gap
                return

    def _space(self) -> Steps[str]:
        tape = self._tape
        start = tape.hold()
        try:
            yield from tape.peek()
            return tape.since(start)
        except TooLongError:
            tape.at = len(tape.text)
            return ""
        finally:
            tape.release()

    def _separates(self) -> Steps[bool]:
        """Read a separator between two calls."""
        tape = self._tape
        while tape.text[tape.at : tape.at + 1] in (",", ";"):
            if match := _SEPARATOR.match(tape.text, tape.at):
                tape.at = match.end()
                return True
            if tape.text[tape.at + 1 :].strip() or len(tape.text) - tape.at > _CONTEXT or not (yield from tape.more()):
                break
        return False

    def _skip_result(self, closing: str) -> Steps[None]:
        tape = self._tape
        while (end := tape.text.find(closing, tape.at)) < 0:
            tape.at = max(tape.at, len(tape.text) - len(closing))
            if not (yield from tape.more(_TAG_END)):
                tape.at = len(tape.text)
                return
        tape.at = end + len(closing)


def _begins_call(char: str) -> bool:
    return bool(char) and (char in "{[" or char.isidentifier())


def _plain(tag: str) -> str:
    """A tag without what models vary: the case, the bars, blanks."""
    return tag if tag[0] == "[" else tag.lower().replace("｜", "|").replace("▁", "_").replace(" ", "")


def _end_of_thought(opening: str) -> str:
    if opening in formats.THOUGHTS:
        return formats.THOUGHTS[opening]
    return next(opening.replace(begin, end, 1) for begin, end in formats.ENDINGS if begin in opening)


def _events(index: int, item: Item, raw: str) -> list[Event]:
    if not isinstance(item, Call):
        return [BrokenCall(index, item.name, item.reason, raw, item.arguments)]
    return [
        CallStarted(index, item.name),
        ArgumentsDelta(index, json.dumps(item.arguments, ensure_ascii=False)),
        CallFinished(index, item.name, item.arguments),
    ]
