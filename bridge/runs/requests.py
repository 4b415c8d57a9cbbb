"""What a client asked for, as the rest of the bridge sees it and as a run keeps it."""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from weakref import WeakValueDictionary

from pydantic import BaseModel, Field, SkipValidation

from bridge.config import Token
from bridge.runs.transcripts import pieces_of
from bridge.store.exchanges import Piece, Pieces, encoded, piece_of
from bridge.store.rows import InvocationRow, RunRow, TicketRow
from bridge.store.run_record import RunRecord
from bridge.store.store import Store
from tools.choices import ToolChoice
from tools.definitions import ToolDefinition
from tools.results import Message, ToolResult


class Place(BaseModel):
    """Where the calls of a tool go: to the executor of this name, or any (`ANYWHERE`). There it is called `tool`."""

    executor: str
    tool: str


Places = dict[str, Place]
"""Of the tools of executors, by the names under which a model is offered them."""


def as_asked(words: str) -> str:
    """Return a user's words as Dify is asked them and remembers them: it refuses none at all, and leaves out NUL."""
    kept = words.replace("\x00", "")
    return kept if kept.strip() else "(no text)"


class RunRequest(BaseModel):
    """The request that starts a run; stored with it, since every attempt of the run begins from it.

    `messages[turn]` is the user message whose cleaned text, `as_asked`, is `query`. `given` and `frame` are digests of
    the client's own values for the app's variables, and of what else came with its words. `asker` is the token that it
    showed, and `client` whose that is: others take no part in the run. An executors' run keeps Dify's UUID of the user
    that it belongs to, the conversation where the node names it, and whether a resumed workflow began it. `places` are
    those of the tools that executors run; None where the client runs all of them.
    """

    # They were checked, or made here; a check would copy each.
    messages: Annotated[list[Message], SkipValidation]
    turn: int | None
    query: str
    tools: list[ToolDefinition] = Field(default_factory=list)
    places: Places | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, Any] = Field(default_factory=dict)
    given: str = ""
    frame: str = ""
    asker: Token = Token.CLIENT
    client: str = "default"
    end_user: str | None = None
    conversation: str | None = None
    resumed: bool = False

    def pieces(self) -> Pieces:
        """Return what the store keeps apart from it."""
        return Pieces(pieces_of(self.messages), self.tools_piece())

    def tools_piece(self) -> Piece:
        """Return the list of tools as a piece."""
        return piece_of(encoded([tool.model_dump(mode="json", exclude_none=True) for tool in self.tools]))

    def rest(self) -> str:
        """Return all else, as JSON."""
        return self.model_dump_json(exclude_none=True, exclude={"messages", "tools"})


_READ = 16


class RunRequests:
    """Reads what started runs, and has it at hand for as long as anybody else does. Nobody changes it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._at_hand: WeakValueDictionary[tuple[str, str], RunRequest] = WeakValueDictionary()
        # Who drives a run has its request; of one that another bridge drives, the plugin may ask here.
        self._read: deque[RunRequest] = deque(maxlen=_READ if store.is_shared else 0)

    def of(self, run: RunRow) -> RunRequest:
        """Return what started a run."""
        request = self._at_hand.get((run.id, run.request))
        if request is None:
            request = RunRequest.model_validate_json(self._store.pieces.whole(run.session_key, run.request))
            self.remember(run, request)
            self._read.append(request)
        return request

    def of_invocation(self, record: RunRecord, invocation: InvocationRow, latest: RunRequest | None) -> RunRequest:
        """Return the transcript to go on from; `latest` is the request that brought the newest results.

        A later attempt replays the rounds on top of the first transcript. Where an earlier try's rounds were not found
        again, because the node's prompt holds the time, say, the client's newest transcript holds them instead; what
        executors did in them, it does not hold.
        """
        replays = bool(record.tickets_of(invocation.id)) or invocation.answer is not None
        untaken = [] if replays else _untaken(record)
        request = latest if latest and untaken else self.of(record.run)
        rounds = [ticket for ticket in untaken if ticket.is_for_executors]
        if record.run.direction != "endpoint" or not rounds:
            return request
        return request.model_copy(update={"messages": with_executors_rounds(request, rounds)})

    def place_of(self, record: RunRecord, invocation_id: str, name: str, latest: RunRequest | None) -> Place | None:
        """Return where the calls of a tool go that an invocation was offered; None for the client of its run.

        Each follow-up of the client may change what is offered, and so the names: what was said last counts.
        """
        began = self.of(record.run)
        if began.places is None:
            return None
        replies = [Reply.model_validate_json(t.reply) for t in reversed(record.tickets_of(invocation_id)) if t.reply]
        offered: list[Reply | RunRequest] = [*replies, *([latest] if latest else []), began]
        for said in offered:
            if place := (said.places or {}).get(name):
                return place
            if any(tool.name == name for tool in said.tools or ()):
                return None
        return None

    @staticmethod
    def asker(run: RunRow) -> Token:
        """Return which token whoever asked showed, without what was asked."""
        return Token(json.loads(run.request).get("asker", Token.CLIENT))

    def remember(self, run: RunRow, request: RunRequest) -> None:
        """Have this at hand as what started a run."""
        self._at_hand[run.id, run.request] = request


def _untaken(record: RunRecord) -> list[TicketRow]:
    """List the tickets that invocations of former attempts opened, and no later try took over."""
    former = (row for row in record.invocations.values() if row.attempt < record.run.attempt and not row.successor)
    return [ticket for row in former for ticket in record.tickets_of(row.id)]


_UNKNOWN = "(no result: this call was given to its tool, and it is not known what became of it)"


def with_executors_rounds(request: RunRequest, rounds: Sequence[TicketRow]) -> list[Message]:
    """Return a client's transcript with the executors' calls of these rounds, and what came of them.

    They stand with the client's calls of the same round, where the transcript has these.
    """
    messages = list(request.messages)
    place = len(messages) if request.turn is None else request.turn + 1
    for ticket in sorted(rounds, key=lambda ticket: ticket.created_at):
        calls = [call for call in ticket.calls if call.place is not None]
        asked = [call.asked_call().to_openai() for call in calls]
        results = [(call.result() or ToolResult(tool_call_id=call.id, output=_UNKNOWN)).to_message() for call in calls]
        ids = {call.id for call in ticket.client_calls}
        asking = (n for n, each in enumerate(messages) if any(c["id"] in ids for c in each.get("tool_calls") or ()))
        number = next(asking, None)
        if number is None:
            messages[place:place] = [{"role": "assistant", "content": ticket.content, "tool_calls": asked}, *results]
            place += 1 + len(results)
            continue
        messages[number] = messages[number] | {"tool_calls": [*messages[number]["tool_calls"], *asked]}
        messages[number + 1 : number + 1] = results
        place = number + 1 + len(results)
        while place < len(messages) and messages[place].get("role") == "tool":
            place += 1
    return messages


@dataclass(frozen=True, slots=True)
class RequestKeys:
    """Digests by which a request is known again: of its turn, of all of it, and of its Idempotency-Key with that."""

    turn: str
    request: str | None = None
    idempotency: str | None = None


class Reply(BaseModel):
    """What a follow-up said besides its tool results."""

    messages: list[Message] = Field(default_factory=list)
    tools: list[ToolDefinition] | None = None
    places: Places | None = None
    tool_choice: ToolChoice | None = None
