"""The directives: how a test tells the model what to do, one directive a line of a user message.

    !call NAME {json}          asks for a tool; lines that follow each other are parallel calls; without JSON: {}
    !broken NAME TEXT          asks for a tool with TEXT, as it stands, where the arguments belong
    !say TEXT                  text of the answer; several lines are joined by newlines
    !then                      the next round begins
    !sleep SECONDS             waits before it goes on; in first place, before the response's headers
    !error STATUS [times K] [after S]
                               answers with that status, K times (once), then goes on; S seconds as Retry-After;
                               after a !say, as an error event within the stream
    !cut [times K]             drops the connection there, K times (once), then goes on; in first place, midway
    !delta N                   N characters in each delta
    !usage PROMPT [COMPLETION] the token counts to report for this round
    !finish REASON             the finish_reason to report for this round
    !class NAME                what a question classifier answers

The first directive may follow a `[timestamp] ` on its line, as OpenClaw writes it. All other lines are ignored.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from demo.scripted.refusal import Refusal

_DIRECTIVE = re.compile(
    r"^[ \t]*(?:\[[^\]\n]*\][ \t]+)?!(call|broken|say|then|sleep|error|cut|delta|usage|finish|class)(?:[ \t]+(.*))?$"
)


@dataclass(frozen=True)
class Say:
    """Text of the answer."""

    text: str


@dataclass(frozen=True)
class Call:
    """A call; `arguments` is the JSON text that goes out, sound unless `broken`."""

    name: str
    arguments: str
    broken: bool = False


@dataclass(frozen=True)
class Sleep:
    """A pause, in seconds."""

    seconds: float


@dataclass(frozen=True)
class Fail:
    """An HTTP status instead of the answer, the first `times` times."""

    status: int
    times: int = 1
    retry_after: float | None = None


@dataclass(frozen=True)
class Cut:
    """The end of the connection, the first `times` times."""

    times: int = 1


Action = Say | Call | Sleep | Fail | Cut


@dataclass
class Round:
    """What one response does, in order."""

    actions: list[Action] = field(default_factory=list)
    usage: tuple[int, int | None] | None = None
    finish_reason: str | None = None

    @property
    def calls(self) -> list[Call]:
        """The calls alone."""
        return [action for action in self.actions if isinstance(action, Call)]

    @property
    def speaks(self) -> bool:
        """Whether there is anything for the client in it."""
        return any(isinstance(action, Say | Call) for action in self.actions)


@dataclass
class Script:
    """All directives of one message."""

    rounds: list[Round] = field(default_factory=lambda: [Round()])
    delta: int | None = None
    category: str | None = None


def is_directive(line: str) -> bool:
    """Whether the line would be obeyed."""
    return _DIRECTIVE.match(line) is not None


def without_directives(text: str) -> str:
    """The text's other lines."""
    return "\n".join(line for line in text.splitlines() if not is_directive(line)).strip()


def read_script(text: str) -> Script | None:
    """The script in a message's text, or None where it has no directive. Raises `Refusal` for one that is malformed."""
    matches = [match for line in text.splitlines() if (match := _DIRECTIVE.match(line))]
    if not matches:
        return None
    script = Script()
    for match in matches:
        word, rest = match[1], (match[2] or "")
        try:
            _READERS[word](script, rest if word == "say" else rest.strip())
        except (ValueError, IndexError) as error:
            raise _malformed(match[0], str(error)) from None
    return script


def _malformed(line: str, why: str) -> Refusal:
    return Refusal(f"The directive {line.strip()!r} cannot be read: {why}.", param="messages", code="invalid_script")


def _call(script: Script, rest: str) -> None:
    name, _, arguments = rest.partition(" ")
    if not name:
        raise ValueError("a tool's name is missing")
    if not isinstance(json.loads(arguments or "{}"), dict):
        raise ValueError("the arguments must be a JSON object")
    script.rounds[-1].actions.append(Call(name, arguments.strip() or "{}"))


def _broken(script: Script, rest: str) -> None:
    name, _, text = rest.partition(" ")
    if not name:
        raise ValueError("a tool's name is missing")
    script.rounds[-1].actions.append(Call(name, text, broken=True))


def _say(script: Script, rest: str) -> None:
    now = script.rounds[-1]
    if now.calls:
        raise ValueError("text stands before the calls of a round; write !then first")
    spoken = any(isinstance(action, Say) for action in now.actions)
    now.actions.append(Say(f"\n{rest}" if spoken else rest))


def _then(script: Script, rest: str) -> None:
    if rest:
        raise ValueError("nothing may follow")
    script.rounds.append(Round())


def _sleep(script: Script, rest: str) -> None:
    script.rounds[-1].actions.append(Sleep(float(rest)))


def _error(script: Script, rest: str) -> None:
    status, *options = rest.split()
    if not 400 <= int(status) <= 599:
        raise ValueError("the status must be from 400 to 599")
    times, after = _option(options, "times", int), _option(options, "after", float)
    script.rounds[-1].actions.append(Fail(int(status), 1 if times is None else times, after))


def _cut(script: Script, rest: str) -> None:
    times = _option(rest.split(), "times", int)
    script.rounds[-1].actions.append(Cut(1 if times is None else times))


def _option[T: (int, float)](words: list[str], name: str, kind: type[T]) -> T | None:
    return kind(words[words.index(name) + 1]) if name in words else None


def _delta(script: Script, rest: str) -> None:
    script.delta = max(1, int(rest))


def _usage(script: Script, rest: str) -> None:
    prompt, *completion = map(int, rest.split())
    script.rounds[-1].usage = (prompt, completion[0] if completion else None)


def _finish(script: Script, rest: str) -> None:
    if not rest:
        raise ValueError("a finish_reason is missing")
    script.rounds[-1].finish_reason = rest


def _class(script: Script, rest: str) -> None:
    script.category = rest


_READERS: dict[str, Callable[[Script, str], Any]] = {
    "call": _call,
    "broken": _broken,
    "say": _say,
    "then": _then,
    "sleep": _sleep,
    "error": _error,
    "cut": _cut,
    "delta": _delta,
    "usage": _usage,
    "finish": _finish,
    "class": _class,
}
