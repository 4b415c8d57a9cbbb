"""What a response continues, what became of it, and its events with their numbers.

The events are kept, so that a client that lost its stream goes on in it.
"""

import json
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from bridge.api.access import client_name
from bridge.api.bodies import check_messages, check_tools
from bridge.api.openai.responses_request import (
    Item,
    ItemReference,
    Offered,
    ReasoningItem,
    ResponsesRequest,
    ask_of,
    items_of,
    stored_items,
)
from bridge.api.openai.responses_response import Body, ResponseTeller, new_response_id, response_of_item
from bridge.api.openai.tool_choice import CALL_IDS, Origin, call_item, origins_of
from bridge.api.openai.turns import Ask, Reading, Turns
from bridge.config import App
from bridge.errors import BridgeError, InvalidRequest, NotFound, UnprocessableRun
from bridge.runs.answers.view import prompt_tokens
from bridge.runs.core import Core
from bridge.runs.segments import Event, Failure, Segment, extent
from bridge.store import clock
from bridge.store.faults import StoreUnavailable
from bridge.store.responses import ResponseRow, Responses
from tools.run_states import UNFINISHED

KEPT = 200
KEPT_CHARACTERS = 10_000_000
"""A response may repeat megabytes of its request: so much of all of them is kept, and a last one in any case."""


class Telling:
    """Tells a segment once, to any number of readers, each from the event that it asks for.

    `on_end` is called before a reader is told the last event. `repeats` is how many characters of its request it
    repeats.
    """

    def __init__(self, teller: ResponseTeller, segment: Segment, on_end: Callable[[], None], repeats: int) -> None:
        self.teller = teller
        self.segment = segment
        self._repeats = repeats
        self._on_end = on_end
        self._lock = threading.Lock()
        self._position = 0
        self._log: list[Body] = list(teller.begin())

    @property
    def ended(self) -> bool:
        """Whether the last event is there."""
        return self.teller.status != "in_progress"

    @property
    def characters(self) -> int:
        """How long it is, as it stands."""
        return self._repeats + self.segment.length

    def tell(self, events: Iterable[Event | None], after: int = -1) -> Iterator[Body]:
        """Yield the response's events behind the number `after`.

        `events` paces: it yields whenever the segment goes on, and None where it was silent for a while.
        """
        told = after + 1
        told = yield from self._behind(told)
        if self.ended:
            return
        for event in events:
            self._catch_up(silent=event is None)
            told = yield from self._behind(told)

    def _behind(self, told: int) -> Generator[Body, None, int]:
        """Yield what is there, with what comes while it is yielded, and return how far that went."""
        while told < len(self._log):
            yield self._log[told]
            told += 1
        return told

    def _catch_up(self, *, silent: bool) -> None:
        with self._lock:
            known = len(self._log)
            for event in self.segment.read(self._position, 0):
                self._position += extent(event)
                told = list(self.teller.tell(event))
                if self.ended:
                    self._on_end()
                self._log += told
            if silent and len(self._log) == known and not self.ended:
                self._log += self.teller.keepalive()


class Tellings:
    """The responses that were told last, by their ids."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Telling] = OrderedDict()

    def add(self, telling: Telling) -> None:
        """Keep one more, and let the oldest go."""
        with self._lock:
            self._kept[telling.teller.id] = telling
            while len(self._kept) > KEPT or (len(self._kept) > 1 and self._characters() > KEPT_CHARACTERS):
                self._kept.popitem(last=False)

    def _characters(self) -> int:
        return sum(telling.characters for telling in self._kept.values())

    def find(self, response_id: str) -> Telling | None:
        """Find the response with this id."""
        with self._lock:
            return self._kept.get(response_id)

    def forget(self, response_id: str) -> None:
        """Keep it no longer."""
        with self._lock:
            self._kept.pop(response_id, None)


OVER = "the run is over, and what it said was not kept"


@dataclass(frozen=True, slots=True)
class Opened:
    """A response that can be told, and what it reads."""

    telling: Telling
    reading: Reading


class ResponseDesk:
    """Opens responses, and finds them again."""

    def __init__(self, core: Core, turns: Turns) -> None:
        self._core = core
        self._turns = turns
        self._rows = Responses(core.store)
        self._tellings = Tellings()

    def open(
        self,
        headers: Mapping[str, str],
        app: App,
        asked: ResponsesRequest,
        body: Mapping[str, Any],
        connection: socket.socket | None,
    ) -> Opened:
        """Begin the response that `asked` asks for, for the client at `connection`. Raises BridgeError."""
        ask, items, offered = self._read(app, asked, body)
        reading = self._turns.respond(headers, app, ask, connection)
        echo = asked.echo(offered)
        teller = ResponseTeller(new_response_id(), echo)
        kept = asked.store is not False
        repeated = json.dumps(echo, ensure_ascii=False)
        telling = Telling(teller, reading.segment, lambda: self._keep(teller) if kept else None, repeats=len(repeated))
        if kept:
            self._tellings.add(telling)
            self._rows.insert(
                ResponseRow(
                    id=teller.id,
                    previous_id=asked.previous_response_id,
                    model=app.model,
                    run_id=reading.run_id,
                    segment=reading.segment.number,
                    request=repeated,
                    input="",
                    answer=None,
                    created_at=clock.now(),
                    client=client_name(),
                ),
                run.session_key if (run := self._core.store.run(reading.run_id)) else teller.id,
                stored_items(items),
            )
        return Opened(telling, reading)

    def count(self, app: App, asked: ResponsesRequest, body: Mapping[str, Any]) -> int:
        """Return how many tokens a request is estimated to have. Raises BridgeError."""
        ask, _, _ = self._read(app, asked, body)
        return prompt_tokens(ask.messages, ask.tools)

    def reopen(self, response_id: str, after: int | None) -> Opened:
        """Return a response to be told again, from behind the event `after` on or from its beginning.

        Raises NotFound, and InvalidRequest where the numbers of its events are forgotten.
        """
        row = self._row(response_id)
        telling = self._tellings.find(response_id)
        segment = self._segment(row)
        if telling is None:
            if after is not None:
                raise InvalidRequest(
                    "the bridge has restarted and numbers this response's events anew: omit starting_after, or "
                    "retrieve the response as a whole",
                    code="stream_gone",
                    param="starting_after",
                )
            if segment is None and self._body(row)["status"] not in {"failed", "cancelled"}:
                raise InvalidRequest(
                    "the bridge no longer has this response's events: retrieve the response as a whole",
                    code="stream_gone",
                    param="stream",
                )
            segment = segment or _failed(row.segment, UnprocessableRun(OVER))
            teller = self._teller(row)
            telling = Telling(teller, segment, lambda: self._keep(teller), repeats=len(row.request))
            self._tellings.add(telling)
        return Opened(telling, Reading(row.run_id, segment or telling.segment))

    def _keep(self, teller: ResponseTeller) -> None:
        """Write how a response ended, before its client is told. What cannot be written is made of its run again."""
        with suppress(StoreUnavailable):
            self._rows.end(teller.id, json.dumps(teller.response(), ensure_ascii=False))

    def find(self, response_id: str, client: str | None = None) -> Body:
        """Return the response as it stands, if it is this client's, or whoever's asks. Raises NotFound."""
        return self._body(self._row(response_id, client))

    def input_items(self, response_id: str) -> list[Body]:
        """Return the response's input items, oldest first. Raises NotFound."""
        row = self._row(response_id)
        return [
            _shown(item.model_dump(exclude_none=True), f"{row.id}_in{position}")
            for position, item in enumerate(items_of(self._rows.input(row)))
        ]

    def delete(self, response_id: str) -> None:
        """Forget the response. Raises NotFound."""
        self._row(response_id)
        self._tellings.forget(response_id)
        if not self._rows.delete(response_id, client_name()):
            raise _no_response(response_id)

    def cancel(self, response_id: str) -> Body:
        """End the run behind a response that is in progress. Raises NotFound and InvalidRequest."""
        row = self._row(response_id)
        body = self._body(row)
        if body["status"] == "cancelled":
            return body
        if body["status"] != "in_progress":
            raise InvalidRequest(f"response {response_id} is {body['status']} already", code="response_ended")
        self._core.runs.cancel(row.run_id, "the client cancelled the response")
        teller = self._teller(row)
        teller.cancel()
        self._rows.end(row.id, json.dumps(teller.response(), ensure_ascii=False))
        return self.find(response_id)

    # Pieces

    def _read(self, app: App, asked: ResponsesRequest, body: Mapping[str, Any]) -> tuple[Ask, list[Item], Offered]:
        """Return what a request asks for, its items without references, and its tools. Raises BridgeError."""
        limits = self._core.services.config.limits
        before, follows = self._before(asked.previous_response_id) if asked.previous_response_id else ([], None)
        offered = asked.offered(before)
        check_tools(len(offered), limits, "tools")
        outputs: dict[str, dict[str, Body]] = {}
        items = [self._resolved(item, position, offered, outputs) for position, item in enumerate(asked.items)]
        ask = ask_of(asked, dict(body), before, items, offered, app.max_output_tokens)
        if before:
            check_messages(len(ask.messages), limits, "previous_response_id")
        return replace(ask, follows=follows), items, offered

    def _row(self, response_id: str, client: str | None = None) -> ResponseRow:
        row = self._rows.find(response_id, client or client_name())
        if row is None:
            raise _no_response(response_id)
        return row

    def _segment(self, row: ResponseRow) -> Segment | None:
        live = self._core.live_runs.get(row.run_id)
        return (live.segment(row.segment) if live else None) or self._core.recorded.segment(row.run_id, row.segment)

    def _teller(self, row: ResponseRow) -> ResponseTeller:
        return ResponseTeller(row.id, json.loads(row.request), row.created_at)

    def _body(self, row: ResponseRow) -> Body:
        """Return what became of a response; what has ended is kept from then on."""
        if row.answer is not None:
            answer: Body = json.loads(row.answer)
            return answer
        teller = self._teller(row)
        segment = self._segment(row)
        if segment:
            teller.take(segment.read(0, 0))
        run = self._core.store.run(row.run_id)
        if teller.status == "in_progress" and (run is None or run.state not in UNFINISHED):
            if run and run.state == "cancelled":
                teller.cancel()
            else:
                teller.fail(UnprocessableRun((run and run.error) or OVER))
        if teller.status != "in_progress":
            self._rows.end(row.id, json.dumps(teller.response(), ensure_ascii=False))
        return teller.response()

    def _before(self, response_id: str) -> tuple[list[Item], str]:
        """Return the items up to a response's end, and the run that gave it. Raises InvalidRequest."""
        rows = self._rows.chain(response_id, client_name())
        if not rows:
            raise InvalidRequest(
                f"previous response {response_id!r} does not exist: it was not stored, or it is too old",
                code="previous_response_not_found",
                param="previous_response_id",
            )
        self._rows.keep([row.id for row in rows])
        said: list[Item] = []
        for row in rows:
            said += [*items_of(self._rows.input(row)), *_output_items(self._body(row))]
        return said, rows[-1].run_id

    def _resolved(self, item: Item, position: int, offered: Offered, outputs: dict[str, dict[str, Body]]) -> Item:
        """Return the item, or the one it refers to. `outputs` are those of responses that were looked up before."""
        if not isinstance(item, ItemReference):
            return item
        kind, _, call_id = item.id.partition("_")
        if kind in CALL_IDS.values() and (call := self._call_of(call_id, offered)):
            return call
        named = response_of_item(item.id) or ""
        if named not in outputs:
            found = self._rows.find(named, client_name())
            outputs[named] = {body["id"]: body for body in self._body(found)["output"]} if found else {}
        body = outputs[named].get(item.id)
        if body is None and item.id.startswith("rs_"):
            return ReasoningItem(type="reasoning", id=item.id)
        if body is None:
            raise InvalidRequest(
                f"item {item.id!r} does not exist", code="item_not_found", param=f"input[{position}].id"
            )
        return _items([body])[0]

    def _call_of(self, call_id: str, offered: Offered) -> Item | None:
        """Return the item of a call, of the kind that its tool is on offer as."""
        tickets = self._core.store.tickets_of_calls([call_id], client_name())
        call = next((call for ticket in tickets for call in ticket.calls if call.id == call_id), None)
        if call is None:
            return None
        origin = origins_of(tool for _, tool in offered).get(call.name) or Origin(name=call.name)
        return _items([call_item(origin, call_id, call.arguments)])[0]


def _items(bodies: Sequence[Body]) -> list[Item]:
    return ResponsesRequest.model_validate({"model": "", "input": list(bodies)}).items


def _output_items(body: Body) -> list[Item]:
    return _items([item for item in body["output"] if item["type"] != "reasoning"])


def _failed(number: int, error: BridgeError) -> Segment:
    segment = Segment(number)
    segment.add(Failure(error))
    return segment


def _shown(item: Body, item_id: str) -> Body:
    """Return an input item as `input_items` lists it: with an id, a status, and its content in parts."""
    shown = {"id": item_id, "status": "completed", **item}
    if item["type"] == "message" and isinstance(item["content"], str):
        kind = "output_text" if item["role"] == "assistant" else "input_text"
        shown["content"] = [{"type": kind, "text": item["content"]}]
    return shown


def _no_response(response_id: str) -> NotFound:
    return NotFound(f"there is no response {response_id!r}", code="response_not_found", param="response_id")
