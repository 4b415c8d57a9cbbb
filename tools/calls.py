"""What a model asks for, assembled from streamed deltas."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from tools.carried import of_call
from tools.ids import new_tool_call_id
from tools.json_depth import DEEPEST, is_too_deep
from tools.json_prefix import JsonObjectPrefix

LONGEST_NAME = 128
"""Longer than any tool's name may be: a model that writes more has lost its way, and the rest is cut off."""


class ToolCall(BaseModel):
    """One call. `arguments` is JSON text, as OpenAI sends it; `{}` when there are none.

    `extra` is what else its server wants back with it. It travels beside the calls (`tools.carried`), never in them.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9]{1,40}$")
    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    arguments: str = "{}"
    extra: SkipJsonSchema[dict[str, Any]] = Field(default_factory=dict, exclude=True, repr=False)

    def to_openai(self) -> dict[str, Any]:
        """Return the entry of an assistant message's `tool_calls`."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


def assistant_message(content: str | None, calls: list[ToolCall]) -> dict[str, Any]:
    """Return the assistant message of a round that asks for `calls`."""
    return {"role": "assistant", "content": content or None, "tool_calls": [call.to_openai() for call in calls]}


def no_number(name: str) -> Any:
    """Refuse NaN and Infinity, which Python reads and no other reader of JSON takes."""
    raise ValueError(f"{name} is not JSON")


def arguments_problem(arguments: str) -> str | None:
    """Say what is wrong with a call's arguments, or None where they are a JSON object."""
    try:
        value = json.loads(arguments, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        return f"the arguments are not valid JSON: {error}"
    if is_too_deep(value):
        return f"the arguments are nested deeper than {DEEPEST} levels"
    return None if isinstance(value, dict) else "the arguments must be a JSON object"


def arguments_of(arguments: str) -> dict[str, Any] | None:
    """Return a call's arguments, or None where something is wrong with them."""
    return None if arguments_problem(arguments) else dict(json.loads(arguments))


@dataclass(frozen=True, slots=True)
class Draft:
    """A call that a model is still writing. `arguments` is their beginning as far as it is sound JSON.

    `complete` says that nothing more can come.
    """

    id: str
    name: str
    arguments: str
    complete: bool = False


@dataclass(slots=True, eq=False)
class _Partial:
    id: str = field(default_factory=new_tool_call_id)
    upstream_id: str = ""
    name: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    sound: JsonObjectPrefix = field(default_factory=JsonObjectPrefix)
    _pieces: list[str] = field(default_factory=list)
    _whole: str = ""
    """The last piece, where it may be all of the arguments so far instead of going on with them."""

    @property
    def arguments(self) -> str:
        # Joined when somebody asks: a text that grows by pieces is copied with each of them.
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def is_begun(self) -> bool:
        return bool(self._pieces)

    def write(self, piece: str) -> None:
        piece = piece if self._pieces else piece.lstrip()
        if piece:
            self._pieces.append(piece)
            self.sound.feed(piece)

    def take(self, piece: str) -> None:
        """Write a piece, unless it says once more what is written: all of it, or all of it and more."""
        said, whole = piece.strip(), ""
        # Only what begins an object can be more than a piece: looking at each piece would take time that grows with it.
        if self._pieces and said.startswith("{"):
            if self.sound.complete:
                is_again = self.repeats(said)
            else:
                # It may go on, or say all of it: what comes behind it tells.
                whole = said if self._may_be_whole(said) else ""
                is_again = bool(whole) and not self._may_go_on(said)
            if is_again:
                self.replace(piece)
                return
        if piece:
            self._whole = whole
        self.write(piece)

    def end(self) -> str:
        """Return the arguments, now that all has come."""
        is_said_again = not self.sound.complete and _object(self._whole) is not None
        return self._whole if is_said_again else self.arguments

    def draft(self) -> Draft:
        """The call so far. Behind an empty object the arguments may yet come."""
        said = self.arguments[: self.sound.length]
        return Draft(self.id, self.name, "{") if said == "{}" else Draft(self.id, self.name, said, self.sound.complete)

    def repeats(self, piece: str) -> bool:
        """Say whether this says once more what is whole, or all of that and more."""
        known = self.arguments.strip()
        before, after = _object(known), _object(piece)
        return piece == known or (before is not None and after is not None and before.items() <= after.items())

    def is_another(self, name: str, piece: str) -> bool:
        """Say whether this, which stands elsewhere, begins another call."""
        begins = not piece or (piece.startswith("{") and not (self.sound.complete and self.repeats(piece)))
        return bool(name) and (name != self.name or begins)

    def _may_go_on(self, piece: str) -> bool:
        longer = JsonObjectPrefix()
        longer.feed(self.arguments.strip() + piece)
        return longer.sound

    def _may_be_whole(self, piece: str) -> bool:
        return piece.startswith(self.arguments.strip()) or bool(self._whole and piece.startswith(self._whole))

    def replace(self, whole: str) -> None:
        self._pieces, self.sound, self._whole = [], JsonObjectPrefix(), ""
        self.write(whole)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class ToolCallAssembler:
    """Puts streamed tool-call deltas together, in whatever manner a server writes them.

    A delta is of the call that its id names, else of the one at its `index`, else of the last. Under one id there may
    be several calls, each at an index of its own.
    It begins another call where there is no such call yet, and something names it; or where it has a name, and
    its id is another than the call's, or the call is whole already and this says something else.
    It repeats the call where it says once more what is there, or all of that and more; an empty object counts for
    nothing where arguments follow. Everything else continues the call: its name in pieces, its arguments, also under a
    new id each time.
    Source: OpenAI's streaming reference, and reports about vLLM, SGLang, Ollama, Gemini's and MiniMax's servers.
    """

    def __init__(self) -> None:
        self._calls: list[_Partial] = []
        self._by_index: dict[int, _Partial] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def feed(self, delta: Mapping[str, Any]) -> None:
        """Take one entry of a chunk's `delta.tool_calls`. One of a whole message has its `position` in it."""
        function = delta.get("function") or {}
        name, arguments = function.get("name") or "", function.get("arguments")
        if isinstance(arguments, dict | list):
            arguments = json.dumps(arguments, ensure_ascii=False)
        piece = "" if arguments is None else str(arguments)
        position = delta.get("position")
        if position is not None and position < len(self._calls):
            partial = self._calls[position]
            if piece and not partial.sound.complete:
                partial.replace(piece)
        else:
            partial = self._partial(delta.get("index"), str(delta.get("id") or ""), name, piece)
            partial.take(piece)
        partial.extra |= of_call(delta)

    def _partial(self, index: int | None, upstream_id: str, name: str, piece: str) -> _Partial:
        known = self._known(index, upstream_id, name, piece)
        if known is None or self._begins(known, upstream_id, name, piece):
            known = _Partial()
            self._calls.append(known)
        if index is not None:
            self._by_index[index] = known
        known.upstream_id = known.upstream_id or upstream_id
        if name and known.name != name and not (known.name and known.is_begun):
            # A name that comes in pieces, or late.
            known.name += name
        return known

    def _known(self, index: int | None, upstream_id: str, name: str, piece: str) -> _Partial | None:
        last = self._calls[-1] if self._calls else None
        known = None if index is None else self._by_index.get(index)
        if upstream_id and (same := [call for call in self._calls if call.upstream_id == upstream_id]):
            if known in same:
                return known
            has_place = index is not None and known is None and same[-1] in self._by_index.values()
            return None if has_place and same[-1].is_another(name, piece.strip()) else same[-1]
        if index is None:
            return last
        return known or (last if not name and not upstream_id else None)

    @staticmethod
    def _begins(known: _Partial, upstream_id: str, name: str, piece: str) -> bool:
        if not name:
            return False
        if not known.name and not known.sound.complete:
            return False
        if upstream_id and known.upstream_id and upstream_id != known.upstream_id:
            # Some servers make up an id for each piece.
            return not known.is_begun or known.sound.complete or piece.lstrip().startswith("{")
        if known.sound.complete:
            says_more = piece.strip() not in {"", "{}"} and known.arguments.strip() != "{}"
            return known.name != name or (says_more and not known.repeats(piece.strip()))
        return known.is_begun and known.name != name

    def drafts(self) -> list[Draft]:
        """Return the calls as far as they are written, in the order in which they began."""
        return [partial.draft() for partial in self._calls if partial.name]

    def calls(self) -> list[ToolCall]:
        """Return the calls in the order in which they began, each under an id of our own."""
        return [
            ToolCall(
                id=partial.id,
                name=partial.name[:LONGEST_NAME],
                arguments=partial.end().strip() or "{}",
                extra=partial.extra,
            )
            for partial in self._calls
            if partial.name
        ]
