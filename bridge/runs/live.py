"""The runs under way: what Dify and the plugin report of one goes in, segments come out. No I/O of its own."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.dify import events
from bridge.errors import BridgeError, Unavailable
from bridge.runs.answers.guards import Withheld
from bridge.runs.answers.view import AnswerView, Drafts
from bridge.runs.requests import RunRequest
from bridge.runs.segments import (
    Begun,
    Calls,
    Citation,
    End,
    Failure,
    Reasoning,
    Segment,
    Text,
    read_logprobs,
    text_of,
    write_citations,
)
from bridge.runs.services import Services, after
from bridge.store import clock
from bridge.store.faults import StoreUnavailable
from bridge.store.rows import RunRow, SegmentRow, TicketRow
from tools.wire import DraftDelta, ModelCall, Usage

log = logging.getLogger("clawback.runs")

KEPT_SEGMENTS = 2

LAST_WORDS_SECONDS = 5.0
"""How long a workflow that was let go of may take to end."""

KEEP_SECONDS = 1.0
"""How often a bridge says what it drives, where others share the store, and tries to write what it could not."""

AWAY_SECONDS = 5.0
"""After so long without a word of its bridge, another one goes on with a run."""

LLM_NODE = "llm"
_MODEL_NODES = {LLM_NODE, "agent", "question-classifier", "parameter-extractor"}
_CONTAINERS = {"iteration", "loop"}
# A tool is not among them: it may be a workflow with LLM nodes. Source: `BuiltinNodeTypes` of graphon.
_WITHOUT_MODELS = {
    *("start", "end", "answer", "if-else", "code", "template-transform", "http-request", "knowledge-retrieval"),
    *("variable-aggregator", "variable-assigner", "assigner", "list-operator", "document-extractor", "human-input"),
    *("iteration", "iteration-start", "loop", "loop-start", "loop-end"),
}


@dataclass(slots=True)
class _Told:
    """What the current segment holds so far, as Dify streamed it."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    usage: Usage | None = None


@dataclass(slots=True)
class _OpenNode:
    node_type: str
    title: str
    side_by_side: int
    """How many nodes that call models were under way as it began, itself included."""
    began_before: int
    """How many such nodes had begun by then."""
    ended: frozenset[str]
    """The invocations that had ended by then: none of them is its own."""


@dataclass(slots=True)
class Nodes:
    """The nodes that Dify has reported as started and not as finished. Times are those of `time.monotonic`."""

    begun: bool = False
    began_at: float = field(default_factory=time.monotonic)
    heard_at: float = field(default_factory=time.monotonic)
    """When Dify last said more than that it is there."""
    gap_at: float = float("-inf")
    """Since when its events are heard without a gap."""
    busy_at: float = float("-inf")
    """When an invocation of theirs was last seen under way."""
    open: dict[str, _OpenNode] = field(default_factory=dict)
    types: set[str] = field(default_factory=set)
    """Those of all nodes that have begun."""
    _began: int = 0
    _doubtful: bool = False
    _lost: bool = False

    def note(self, event: events.Event, ended: Callable[[], frozenset[str]]) -> None:
        """Take in what Dify said; `ended` names the attempt's invocations that have ended."""
        if isinstance(event, events.Ping):
            return
        self.heard_at = time.monotonic()
        match event:
            case events.WorkflowStarted():
                self.begun = True
            case events.NodeStarted():
                self._lose_if_doubtful()
                self._start(event, ended)
            case events.NodeRetry():
                self._began += 1
            case events.NodeFinished():
                if self.open.pop(_execution(event), None) is None:
                    self._lose_if_doubtful()

    def note_gap(self) -> None:
        """Events may have gone by unheard: what is open may have ended, and something else begun."""
        self.gap_at, self._doubtful = time.monotonic(), True

    def _lose_if_doubtful(self) -> None:
        if self._doubtful:
            self._lost = True

    def _start(self, event: events.NodeStarted, ended: Callable[[], frozenset[str]]) -> None:
        self.types.add(event.node_type)
        before, calls_models = self._began, event.node_type in _MODEL_NODES
        self._began += calls_models
        rivals = sum(node.node_type in _MODEL_NODES for node in self.open.values())
        # Of any other node it is not asked.
        over = ended() if event.node_type == LLM_NODE else frozenset[str]()
        self.open[_execution(event)] = _OpenNode(
            event.node_type, event.title or event.node_id, rivals + calls_models, before + calls_models, over
        )

    @property
    def without_models(self) -> bool:
        """Whether it is certain that no node called a model."""
        return bool(self.types) and self.types <= _WITHOUT_MODELS and not self._doubtful

    @property
    def at_work(self) -> list[_OpenNode]:
        """What is under way, without the iterations and loops around it."""
        return [node for node in list(self.open.values()) if node.node_type not in _CONTAINERS]

    def have_ended(self, invocations: Mapping[str, bool]) -> bool:
        """Whether all that is under way are LLM nodes whose invocations have ended; False where that is a guess.

        `invocations` are all of the attempt, and whether each has ended. An LLM node of another provider has none:
        there must be at least one for every node that may have called a model since the oldest one began.
        """
        working = self.at_work
        if self._lost or not working or any(node.node_type != LLM_NODE for node in working):
            return False
        oldest = working[0]
        own = [has_ended for name, has_ended in invocations.items() if name not in oldest.ended]
        return all(own) and len(own) >= oldest.side_by_side + self._began - oldest.began_before


def _execution(event: events.NodeStarted | events.NodeFinished) -> str:
    return event.execution_id or event.node_id


class Workflow:
    """What is known of the end of an attempt's workflow."""

    def __init__(self) -> None:
        self.is_over = False
        self._left = threading.Event()

    def leave(self, *, is_over: bool) -> None:
        """Nobody listens to it any more."""
        self.is_over = is_over
        self._left.set()

    def wait(self, seconds: float) -> bool:
        """Wait until it is over, or is not listened to any more; say whether it is over."""
        self._left.wait(seconds)
        return self.is_over


class LiveRun:
    """One attempt after the other of one run.

    `on_segment` is called with every completed segment, and the attempt that completed it, before its reader learns
    that it is complete: what it writes is what survives. `view` makes the view that a segment's client has of the
    app's text; without one it is as it is.
    """

    def __init__(
        self,
        run_id: str,
        told: list[SegmentRow],
        on_segment: Callable[[SegmentRow, int], None],
        view: Callable[[], AnswerView] | None,
        estimate: Callable[[str], Usage],
    ) -> None:
        self.run_id = run_id
        self.attempt = 0
        self.over = False
        self.suspended = False
        """Whether the plugin let go of the workflow: what that still says is said again by the next attempt."""
        self.failure: BridgeError | None = None
        self.latest: RunRequest | None = None
        self.finish_reason = "stop"
        self.logprobs: Sequence[dict[str, Any]] = ()
        """Those of the answer that a node of this attempt gave last."""
        self.stopped: list[str] = []
        """The tickets with which nodes of this attempt ended. It is not the last attempt then."""
        self.touched_at = time.monotonic()
        self.nodes = Nodes()
        self.workflow = Workflow()
        self.request_id = ""
        """The id of the request that began this attempt."""
        self.begins_conversation = False
        """Whether Dify had no conversation when the run began."""
        self._on_segment = on_segment
        self._make_view = view
        self._estimate = estimate
        self._lock = threading.RLock()
        self._segments: dict[int, Segment] = {}
        self._replayed = "".join(row.text for row in told)
        self._skip: str = ""
        self._pending: list[TicketRow] = []
        self._stopped: list[TicketRow] = []
        self._delivered = {row.ticket_id for row in told}
        self._withheld = Withheld()
        self._drafts = Drafts()
        self._held: list[tuple[str, int, Sequence[DraftDelta]]] = []
        self._text_arrived = False
        self._total: Usage | None = None
        self._citations: tuple[Citation, ...] = ()
        self._links: dict[str, str] = {}
        self.note: str | None = None
        self._left_out: set[str] = set()
        self._open_segment(told[-1].number + 1 if told else 0)

    def _open_segment(self, number: int) -> None:
        self._current = Segment(number)
        self._segments[number] = self._current
        self._segments.pop(number - KEPT_SEGMENTS, None)
        self._told = _Told()
        self._held = []
        self._text_arrived = False
        self._view = self._make_view() if self._make_view else None

    @property
    def current(self) -> Segment:
        """The segment that is being told."""
        return self._current

    def segment(self, number: int) -> Segment | None:
        """Return the segment with this number while it is held in memory."""
        with self._lock:
            return self._segments.get(number)

    def begin(self, attempt: int, *, goes_on: bool = False) -> None:
        """A Dify workflow run starts. What an earlier attempt told already is left out when it is told again.

        One that `goes_on` where it was paused tells nothing again.
        """
        with self._lock:
            self._held.clear()
            if self._drafts:
                # What was told of a call cannot be taken back, and the next attempt makes another one.
                self._drafts.clear()
                self._current.add(Failure(_half_a_call("its workflow was run again")))
                self._open_segment(self._current.number)
            elif self._current.closed:
                self._open_segment(self._current.number + 1)
            self._skip = (self._replayed + "".join(self._told.text)) if attempt > 1 and not goes_on else ""
            self.attempt = attempt
            self.nodes = Nodes()
            self.workflow = Workflow()
            self.over = self.suspended = False
            self.finish_reason = "stop"
            self.logprobs = ()
            self.stopped = []
            self._stopped.clear()
            self._withheld = Withheld()

    def begun(self) -> None:
        """Dify runs the workflow."""
        with self._lock:
            self._current.add(Begun())

    def text(self, piece: str, node_id: str = "") -> None:
        """Dify streamed a piece of the answer; an empty one says that the text before a ticket has all arrived."""
        with self._lock:
            if not piece:
                self.deliver_pending()
                return
            self._text_arrived = False
            self._tell(self._withheld.feed(piece), node_id)

    def _tell(self, piece: str, node_id: str = "") -> None:
        piece = self._untold(piece)
        if not piece:
            return
        self._told.text.append(piece)
        shown = self._view.feed(piece, node_id) if self._view else [Text(piece)]
        self._current.add(*shown)

    def _untold(self, piece: str) -> str:
        if not self._skip:
            return piece
        common = 0
        while common < min(len(piece), len(self._skip)) and piece[common] == self._skip[common]:
            common += 1
        self._skip = self._skip[common:] if common == len(piece) else ""
        return piece[common:]

    def reasoning(self, piece: str) -> None:
        """Dify streamed a piece of a node's reasoning."""
        with self._lock:
            if piece:
                self._told.reasoning.append(piece)
                self._current.add(*(self._view.reasoning(piece) if self._view else [Reasoning(piece)]))

    def replace(self, answer: str) -> None:
        """Dify replaced the answer. What is on its way cannot be taken back, so only an unsaid answer changes."""
        with self._lock:
            if not self._told.text:
                self.text(answer)

    def catch_up(self, answer: str) -> bool:
        """Tell what is missing of the run's whole `answer`; say whether what was told is its beginning."""
        with self._lock:
            told, answer = self._replayed + "".join(self._told.text), self._withheld.without(answer)
            if not answer.startswith(told) and not self.stopped:
                return False
            self._skip = ""
            # What waited is in the answer, too.
            self._withheld.close()
            if len(answer) > len(told):
                self.text(answer[len(told) :])
            return True

    def used(self, usage: Usage) -> None:
        """The plugin reported an upstream call: a client's context is as full as the largest prompt."""
        with self._lock:
            so_far = self._told.usage or Usage()
            self._told.usage = Usage(
                prompt_tokens=max(so_far.prompt_tokens, usage.prompt_tokens),
                completion_tokens=so_far.completion_tokens + usage.completion_tokens,
            )

    def total(self, usage: Usage | None) -> None:
        """Dify reported the usage of the whole run."""
        self._total = usage or self._total

    def cite(self, citations: Iterable[Citation]) -> None:
        """Dify named what the answer rests on; each document counts once."""
        self._citations = tuple(dict.fromkeys([*self._citations, *citations]))

    def bring(self, links: Mapping[str, str]) -> None:
        """The app made files. Their links, by what is the same of a file's address, end the answer."""
        self._links |= links

    def _tell_links(self) -> None:
        told = self._replayed + "".join(self._told.text)
        for link in [link for address, link in self._links.items() if address not in told]:
            self._tell(f"\n\n{link}" if told else link)
            told += link
        self._links = {}

    def draft(self, invocation_id: str, round_: int, deltas: Sequence[DraftDelta], *, after_text: bool = False) -> bool:
        """The model of this invocation writes calls; what was written cannot be taken back.

        Text that came before them may still be on its way through Dify. `after_text` holds them back until it has
        arrived, or until `deliver_pending`; the answer says whether they are held.
        """
        with self._lock:
            if self.over or self.suspended:
                return False
            if after_text and not self._text_arrived:
                self._held.append((invocation_id, round_, deltas))
                return True
            self._current.add(*self._drafts.take(invocation_id, round_, deltas))
            return False

    def _tell_held(self) -> None:
        held, self._held = self._held, []
        self._text_arrived = True
        for invocation_id, round_, deltas in held:
            self.draft(invocation_id, round_, deltas)

    def stop_writing(self, invocation_id: str, reason: str | None) -> None:
        """This invocation has ended; calls that it began and never handed over make the response fail."""
        with self._lock:
            if any(ticket.invocation_id == invocation_id for ticket in self._pending):
                if self.suspended:
                    # Its workflow ends as well, and says before that what is to be said before the calls.
                    return
                self.deliver_pending()
            if self._drafts.belongs_to(invocation_id):
                self.fail(_half_a_call(reason))

    def hold_ticket(self, ticket: TicketRow) -> None:
        """Deliver this ticket once the text before its calls has arrived."""
        with self._lock:
            if not self.holds(ticket.id) and ticket.id not in self._delivered:
                self._pending.append(ticket)

    def holds(self, ticket_id: str) -> bool:
        """Say whether this ticket is to be delivered later."""
        with self._lock:
            return any(ticket.id == ticket_id for ticket in (*self._pending, *self._stopped))

    @property
    def awaits_text(self) -> bool:
        """Whether the text before a ticket is still to come through Dify."""
        return bool(self._pending)

    def deliver_pending(self) -> None:
        """Deliver the tickets that wait for their text."""
        with self._lock:
            self._tell_held()
            waiting, self._pending = self._pending, []
            try:
                while waiting:
                    self.deliver(waiting[0])
                    del waiting[0]
            finally:
                # What could not be written is not lost: the next chance delivers it.
                self._pending = waiting + self._pending

    def stop(self, ticket: TicketRow, text: str) -> None:
        """A node ends with this ticket. Its calls go out when the workflow run has ended, and their `text` does not."""
        with self._lock:
            self.stopped.append(ticket.id)
            if ticket.handed_out():
                self._stopped.append(ticket)
            self._withheld.add(text)

    def withhold(self, *texts: str) -> None:
        """Tell the client nothing of these texts in what this attempt says."""
        with self._lock:
            for text in texts:
                self._withheld.add(text)

    def deliver_stopped(self) -> None:
        """Deliver the tickets with which nodes have ended, but for those that a person has to decide on."""
        with self._lock:
            ready = [ticket for ticket in self._stopped if not ticket.undecided]
            self._stopped = [ticket for ticket in self._stopped if ticket.undecided]
            for ticket in ready:
                self.deliver(ticket)

    @property
    def is_plain(self) -> bool:
        """Whether a ticket that is delivered now goes out alone, and before anything else is written."""
        return not (self._stopped or self._pending or self.over)

    @property
    def undelivered(self) -> bool:
        """Whether a node ended with a ticket that the client does not have yet."""
        return bool(self._stopped)

    def deliver(self, ticket: TicketRow, write: Callable[[SegmentRow], None] | None = None) -> None:
        """End the response with the ticket's calls; what comes after belongs to the next one.

        A ticket ends one response. `write` writes the segment instead of `on_segment`. What it raises leaves the
        response as it is.
        """
        with self._lock:
            self._stopped = [stopped for stopped in self._stopped if stopped.id != ticket.id]
            self.deliver_stopped()
            if self.over or ticket.id in self._delivered:
                return
            if self._drafts.keep_waiting(ticket):
                self._pending.append(ticket)
                return
            if not self._drafts.are_completed_by(ticket):
                self._drafts.end(ticket)
                self.fail(_half_a_call())
                return
            if self._refuses():
                return
            self._close("tool_calls", ticket, write)
            self._delivered.add(ticket.id)
            self._drafts.end(ticket)
            self._open_segment(self._current.number + 1)
            self.deliver_pending()

    def finish(self, write: Callable[[SegmentRow], None] | None = None) -> None:
        """The chatflow answered. `write` writes the last segment instead of `on_segment`."""
        with self._lock:
            self.deliver_pending()
            if self._drafts:
                self.fail(_half_a_call())
                return
            self._tell_links()
            if self._refuses():
                return
            self._close(self.finish_reason, None, write)
            self.over = True
            self._let_go()

    def fail(self, error: BridgeError) -> None:
        """The run ended without an answer."""
        with self._lock:
            self.over = True
            self.failure = self.failure or error.fresh()
            self._pending.clear()
            self._drafts.clear()
            self._current.add(Failure(error))
            self._let_go()

    def _let_go(self) -> None:
        """Keep only what was told, once: who comes back for it needs no more, and requests and answers may be long."""
        self.latest = self._view = None
        self.logprobs = ()
        self._told, self._replayed, self._skip = _Told(), "", ""
        self._estimate = lambda _: Usage()

    def _refuses(self) -> bool:
        """Tell the rest of the text. Where the view refuses to tell all of it, the run has failed."""
        self._tell(self._withheld.close())
        refusal = self._view.refusal if self._view else None
        if refusal:
            self.fail(refusal)
        return refusal is not None

    def _close(
        self, finish_reason: str, ticket: TicketRow | None, write: Callable[[SegmentRow], None] | None = None
    ) -> None:
        text = "".join(self._told.text)
        usage = self._told.usage or (self._total if ticket is None else None) or self._estimate(text)
        citations = () if ticket else self._citations
        segment = SegmentRow(
            run_id=self.run_id,
            number=self._current.number,
            text=text,
            reasoning="".join(self._told.reasoning),
            ticket_id=ticket.id if ticket else None,
            finish_reason=finish_reason,
            usage=usage.model_dump_json(),
            citations=write_citations(citations),
        )
        if write:
            write(segment)
        else:
            self._on_segment(segment, self.attempt)
        self._replayed += text
        rest = self._view.close() if self._view else []
        calls = [Calls(tuple(ticket.handed_out()), ticket.reasoning_details())] if ticket else []
        logprobs = self._logprobs_of(rest) if self.logprobs and not ticket else ()
        self._current.add(*rest, *calls, End(finish_reason, usage, self._noted(), citations, logprobs))

    def _logprobs_of(self, rest: Iterable[Text | Reasoning]) -> tuple[dict[str, Any], ...]:
        """Return what the upstream said of the tokens of what is told, with its rest.

        Nothing where an app or a guard has changed the text.
        """
        told, tokens = text_of((*self._current.read(0, 0), *rest)), read_logprobs(self.logprobs)
        # A token may be a part of a character.
        return tokens if told and b"".join(bytes(token["bytes"]) for token in tokens) == told.encode() else ()

    def sent_without(self, calls: Sequence[ModelCall]) -> None:
        """The plugin left out of calls of a model what the client asked for."""
        with self._lock:
            self._left_out |= {name for call in calls for name in call.left_out}

    def _noted(self) -> str | None:
        left_out = f"not sent as asked: {', '.join(sorted(self._left_out))}" if self._left_out else ""
        return "; ".join(filter(None, (self.note, left_out))) or None

    @property
    def silent(self) -> bool:
        """Whether the current segment has told nothing so far, and has nothing to tell at its end."""
        return not (self._told.text or self._links)


class Heard:
    """When the plugin was last heard of each ticket or invocation, while more is to be heard.

    Times are seconds since the epoch, in the future while a poll is under way.
    """

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def heard(self, name: str, wait: float = 0) -> None:
        """The plugin asks, or has asked, and is answered within `wait` seconds."""
        self._at[name] = clock.now() + wait

    def told(self, name: str) -> None:
        """The plugin knows the end, or nobody asks any more."""
        self._at.pop(name, None)

    def at(self, name: str) -> float:
        """Return when the plugin was last heard; 0 for never."""
        return self._at.get(name, 0.0)

    def all(self) -> list[tuple[str, float]]:
        """List of what the plugin was heard, and when."""
        return list(self._at.items())

    def forget_before(self, cutoff: float) -> None:
        """Forget of what nothing was heard since `cutoff`."""
        self._at = {name: at for name, at in self._at.items() if at >= cutoff}


class LiveRuns:
    """The runs that this process drives, and when their plugins last asked for each ticket and told of themselves."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._live: dict[str, LiveRun] = {}
        self.polls, self.beats = Heard(), Heard()

    def get(self, run_id: str) -> LiveRun | None:
        """Return the run if this process drives it now."""
        return self._live.get(run_id)

    def all(self) -> list[LiveRun]:
        """List them."""
        return list(self._live.values())

    def add(self, live: LiveRun) -> None:
        """Drive a run from now on."""
        self._services.store.hold(live.run_id)
        self._live[live.run_id] = live

    def drop(self, run_id: str) -> LiveRun | None:
        """Drive a run no longer; what it told is in the store."""
        self._services.store.release(run_id)
        return self._live.pop(run_id, None)

    def driving(self, run: RunRow) -> LiveRun | None:
        """Return the run if this process drives the attempt of it that was read."""
        live = self._live.get(run.id)
        return live if live and live.attempt == run.attempt else None

    def keep(self) -> None:
        """Tell the bridges that share the store what is driven here, for as long as its client has not left."""
        alive = (live for live in self.all() if not (live.over or live.suspended or live.current.is_left))
        self._services.store.drive({live.run_id: live.attempt for live in alive}, clock.now())

    def is_driven_elsewhere(self, run: RunRow) -> bool:
        """Whether a bridge that shares the store is at the attempt of a run that was read."""
        store, here = self._services.store, self._live.get(run.id)
        if not store.is_shared or run.state != "running" or (here and here.attempt >= run.attempt):
            return False
        return store.is_driven(run, clock.now() - AWAY_SECONDS)

    def is_current(self, run: RunRow, live: LiveRun) -> bool:
        """Whether the attempt that `run` was read for is still the one that this process drives."""
        return live.attempt == run.attempt and self._live.get(run.id) is live

    def is_elsewhere(self, live: LiveRun) -> bool:
        """Whether a bridge that shares the store has taken over this run since."""
        run = self._services.store.run(live.run_id)
        return run is not None and run.attempt > live.attempt

    def deliver_soon(self, live: LiveRun, ticket: TicketRow) -> None:
        """Deliver the ticket when the text before its calls has come through Dify, or had time enough to."""
        live.hold_ticket(ticket)
        self.deliver_later(live)

    def deliver_later(self, live: LiveRun) -> None:
        """Deliver what is held back once it was held for long enough."""
        after(self._services.config.limits.boundary_seconds, self._deliver, live, live.attempt)

    def _deliver(self, live: LiveRun, attempt: int) -> None:
        if live.suspended and live.attempt == attempt and self._live.get(live.run_id) is live:
            # Its workflow is about to end, and says before that what is to be said.
            after(LAST_WORDS_SECONDS, self._deliver_now, live)
        else:
            self._deliver_now(live)

    def _deliver_now(self, live: LiveRun) -> None:
        try:
            live.deliver_pending()
        except StoreUnavailable:
            if self._live.get(live.run_id) is live:
                after(KEEP_SECONDS, self._deliver_now, live)
        except BridgeError as error:
            # Another bridge has the run by now.
            log.warning("calls could not be delivered", extra={"run": live.run_id, "error": error.message})

    def __len__(self) -> int:
        return len(self._live)


def _half_a_call(reason: str | None = None) -> BridgeError:
    return Unavailable(
        f"the model did not finish a call as it began it ({reason or 'it changed its mind'}), so no call was run; "
        "try again",
        code="call_not_finished",
        retry_after=1,
    )
