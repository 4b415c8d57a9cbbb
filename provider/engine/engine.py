"""One invocation as a state machine without I/O: events in, actions out, in the style of h11.

    START ──┬─ callbacks off ──────────────────────────────> CALLING ──> answer: END
            └─ callbacks on ──> ATTACHING ──> replay, then ──> CALLING ──> calls: OPENING ──> WAITING
                                                                 ^                              │  │
                                                                 └────── resolved, expired ─────┘  │ time is up
                                                                 └────── resolved after all ── LETTING_GO ──> END

When the time is up, a node lets go as its on_callback_timeout says: it suspends the run, or lets the ticket expire and
has the model answer, or fails. A node with stop_after_tool_calls ends where it would begin to wait. That, an answer,
and a failure while a run is attached, pass through RECORDING before the END. Which event is handled how in which phase
is the table `_HANDLERS`; anything else is a fault of the caller.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import Enum, auto
from typing import Any

from provider.engine import pending_rounds
from provider.engine.drafts import Drafting
from provider.engine.events import (
    Action,
    Attach,
    Attached,
    BridgeFailed,
    CallUpstream,
    CancelTicket,
    Completed,
    Delta,
    Event,
    Exchange,
    ExpireTicket,
    Fail,
    Finish,
    Heartbeat,
    OpenTicket,
    Pause,
    PollTicket,
    Record,
    Recorded,
    Say,
    Started,
    SuspendTicket,
    TellDrafts,
    TicketReported,
    UpstreamFailed,
    Woke,
)
from provider.engine.model_calls import ModelCalls
from provider.engine.prompt import split_rounds
from provider.engine.response import (
    ThinkBlock,
    at_most,
    estimate_prompt,
    estimate_text,
    ignored,
    reminded,
    reminder,
    tellable,
)
from provider.engine.rounds import (
    OpenRound,
    aside,
    carried_with,
    meant,
    of_journal,
    of_ticket,
    repaired,
    sort_out,
    unseen,
)
from provider.errors import (
    Cancelled,
    ProviderError,
    Refused,
    ResultsMissing,
    RunNotFound,
    Suspended,
    Unavailable,
    clean,
)
from provider.modes.mode import Mode, Prompt, Reply
from provider.settings import NodeSettings
from provider.upstream.request import with_client
from tools.calls import Draft, ToolCall
from tools.carried import Growing
from tools.choices import ToolChoice, after_round, resolve
from tools.definitions import ToolDefinition, allow, names_of
from tools.fingerprint import invocation_fingerprint
from tools.marker import marker_for
from tools.openclaw_text.stopping import stopping_text
from tools.results import Message, ToolResult
from tools.transcript import merge, repair
from tools.wire import AttachRequest, AttachResponse, DraftRequest, RecordRequest, TicketRequest, TicketStatus, Usage

UPSTREAM_ATTEMPTS = 4
POLL_SECONDS = 10.0
HEARTBEAT_SECONDS = 9.5
"""A little less than a poll, so that each poll that brought nothing is followed by a heartbeat."""

BRIDGE_PATIENCE = 30.0
"""How long the bridge may be away, starting again perhaps, when it is needed at once."""

ANSWER_SECONDS = 60.0
"""What a node that answers without the results keeps of its time for that; a fifth where it has little."""

LIMIT_NOTE = "(The limit of {limit} tool call rounds is reached. Answer now with what is known, without calling tools.)"
EXPIRED_NOTE = "(The tools did not answer in time. Answer now with what is known, without calling tools.)"
BEGUN = "(The answer had begun already, so it was not asked for again.)"
HALF_A_CALL = (
    "The client was told of a call that the model did not finish as it began, so nothing may be run. "
    "Trying again may help."
)
EXPIRED_RESULT = "Error: this call expired, as its result did not come in time"
NO_ANSWER = "(The model asked for more tools, which this node does not allow any more, instead of an answer.)"


LONGEST_PAUSE = 60.0
"""Seconds. An upstream that asks for a longer pause is not waited for."""

_FIRST = 0.5
_LONGEST_BACKOFF = 8.0


@dataclass
class Backoff:
    """Counts failures in a row and says how long to pause after each, in seconds."""

    failures: int = 0

    def pause(self, asked: float | None = None) -> float:
        """Count a failure. `asked` is the other side's Retry-After."""
        own = min(_FIRST * 2**self.failures, _LONGEST_BACKOFF)
        self.failures += 1
        return own if asked is None else max(own if asked else _FIRST, asked)

    def reset(self) -> None:
        """Forget the failures: something worked."""
        self.failures = 0


class Phase(Enum):
    """What the engine waits for."""

    START = auto()
    ATTACHING = auto()
    CALLING = auto()
    OPENING = auto()
    WAITING = auto()
    LETTING_GO = auto()
    RECORDING = auto()
    END = auto()


@dataclass(frozen=True)
class Invocation:
    """What one call of a node brings along. Times are seconds of the driver's clock.

    `messages` is the node's prompt without markers, `request` the fields of every upstream call, `tools` those that
    Dify itself passes and runs, `attempts` how often the upstream is asked at most. `time_limit` is how long Dify lets
    the invocation live; it must be over by `deadline`, and waits for tools until `hold_until` at most, so that time is
    left to say why. It may have been `unread` for so many seconds before it began.
    """

    invocation_id: str
    model: str
    messages: Sequence[Message]
    settings: NodeSettings
    request: dict[str, Any] = field(repr=False)
    hold_until: float
    deadline: float
    time_limit: float = 600
    stream: bool = True
    callbacks: bool = False
    tools: Sequence[ToolDefinition] = ()
    attempts: int = UPSTREAM_ATTEMPTS
    user: str | None = None
    app_id: str | None = None
    markers: Sequence[str] = ()
    sees_images: bool = True
    prices: tuple[Decimal, Decimal, str] = (Decimal(0), Decimal(0), "")
    unread: float = 0


class Engine:
    """Decides what one invocation does next."""

    def __init__(self, invocation: Invocation, mode: Mode) -> None:
        self._given = invocation
        self._settings = invocation.settings
        self._mode = mode
        self._phase = Phase.START
        self._now = 0.0
        self._last_output = 0.0
        self._retry: Exchange = Pause(0)
        self._backoff = Backoff()

        self._run_id: str | None = None
        self._secret: str | None = None
        self._watched = False
        self._messages: list[Message] = list(invocation.messages)
        self._begun_with = len(self._messages)
        self._before: Sequence[Message] = ()
        self._as_text = "Observation" in (invocation.request.get("stop") or ())
        self._asked, self._own_rounds = split_rounds(invocation.messages, self._as_text)
        self._offered: Sequence[ToolDefinition] = invocation.tools
        self._choice = self._chosen(None)
        self._parallel = self._settings.parallel_tool_calls
        self._request: dict[str, Any] = invocation.request
        self._rounds = 0
        self._shown_before = ""
        self._reminded = False
        self._note: str | None = None
        self._final = False

        self._response = _Response(mode, Prompt(()))
        self._usage = Usage()
        self._logprobs: Sequence[Any] = ()
        self._total = Usage()

        self._round = OpenRound("", ())
        self._aside: Sequence[ToolCall] = ()
        self._drafting = Drafting()
        self._model_calls = ModelCalls(invocation.prices)
        self._ticket_id = ""
        self._wait_until = 0.0
        self._patient_until = 0.0
        self._began = 0.0
        self._last: list[Action] = []

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self._phase is Phase.END

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take an event at the time `now` and return what is to be done: outputs, and at most one exchange."""
        if self._last_output == 0.0:
            self._last_output = now
        self._now = now
        actions = _HANDLERS[self._phase, type(event)](self, event)
        if any(isinstance(action, Say | Heartbeat) for action in actions):
            self._last_output = now
        return actions

    def close(self) -> CancelTicket | None:
        """Nobody takes the outputs any more. Return what the bridge should hear about it."""
        holds_ticket = self._phase in {Phase.OPENING, Phase.WAITING, Phase.LETTING_GO}
        self._phase = Phase.END
        if not holds_ticket:
            return None
        return CancelTicket(self._ticket_id, self._given.invocation_id, "Dify closed the invocation")

    # Attaching

    def _start(self, _: Started) -> list[Action]:
        if not self._given.callbacks:
            return self._call()
        self._began = self._now
        self._phase = Phase.ATTACHING
        self._be_patient(self._given.hold_until)
        return self._attach()

    def _attach(self, _: Woke | None = None) -> list[Action]:
        given = self._given
        request = AttachRequest(
            invocation_id=given.invocation_id,
            fingerprint=invocation_fingerprint(given.model, given.messages, self._settings.identity()),
            model=given.model,
            user=given.user,
            app_id=given.app_id,
            callback_key=self._settings.callback_key or None,
            label=self._settings.callback_label,
            markers=list(given.markers),
            marker=next(iter(given.markers), None),
            age_seconds=self._now - self._began,
            unread_seconds=given.unread,
            beats=True,
        )
        return [*self._heartbeat(), Attach(request)]

    def _attached(self, event: Attached) -> list[Action]:
        response = event.response
        self._backoff.reset()
        if response.run_id is None:
            fails = self._settings.on_run_not_found == "fail" and not response.left_out
            return self._end(Fail(_run_not_found(response.reason))) if fails else self._call()
        self._run_id = response.run_id
        self._secret = response.secret
        self._watched = response.watched
        self._model_calls.whole = response.shown
        if self._own_rounds:
            self._before = pending_rounds.kept_as(self._kept_as)
        merged = merge(self._asked, response.messages, response.turn, response.query, response.past_queries)
        self._messages = repair([*merged, *self._before, *self._own_rounds])
        self._begun_with = len(self._messages)
        self._offered = self._with_node_s(response.tools, response.also)
        self._choice = self._chosen(response.tool_choice)
        if self._parallel is None or self._settings.parameters_from == "client":
            self._parallel = response.parallel_tool_calls
        self._request = with_client(self._given.request, response.parameters, self._settings)
        return self._replay(response)

    def _chosen(self, client: ToolChoice | None) -> ToolChoice:
        """Return the choice for the first response; a call that is forced is so no more once Dify has run it."""
        choice = resolve(self._settings.tool_choice, client, names_of(self._offered))
        return after_round(choice) if self._own_rounds else choice

    @property
    def _kept_as(self) -> str:
        return f"{self._run_id} {invocation_fingerprint(self._given.model, self._asked, self._settings.identity())}"

    def _replay(self, response: AttachResponse) -> list[Action]:
        """Go through what an earlier try of this invocation has done already, and show Dify what it showed then."""
        shown = "".join(done.shown for done in response.rounds)
        if response.answer:
            answer = response.answer
            self._phase = Phase.END
            return [*_said(shown + answer.text), Finish(answer.finish_reason, answer.usage)]
        for done in response.rounds:
            self._append(of_journal(done).messages(self._seen(done.results), done.messages))
            self._choice = after_round(self._choice)
        if response.open_ticket:
            self._round = of_ticket(response.open_ticket)
            self._ticket_id = response.open_ticket.ticket_id
            return [*_said(shown + response.open_ticket.shown), *self._wait()]
        return [*_said(shown), *self._call()]

    def _attach_failed(self, event: BridgeFailed) -> list[Action]:
        return self._try_again(event) or self._end(Fail(event.error))

    # Calling the upstream

    def _call(self) -> list[Action]:
        """Ask the upstream for the next response."""
        self._backoff.reset()
        self._phase = Phase.CALLING
        self._response = _Response(self._mode, self._prompt())
        return [self._upstream_call()]

    def _prompt(self) -> Prompt:
        limit = self._settings.max_tool_call_rounds
        self._final = self._note is not None or self._rounds >= limit
        if not self._final:
            offered, data = self._offered, self._wants_data
            return Prompt(self._messages, offered, self._choice, self._parallel, known=offered, data=data)
        note = self._note or LIMIT_NOTE.format(limit=limit)
        asked = [*self._messages, {"role": "user", "content": note}]
        return Prompt(asked, known=self._offered, data=self._wants_data)

    @property
    def _wants_data(self) -> bool:
        form = self._request.get("response_format")
        return isinstance(form, dict) and form.get("type") in {"json_object", "json_schema"}

    def _upstream_call(self) -> CallUpstream:
        body = self._request | self._mode.encode(self._response.prompt)
        return CallUpstream(body, max(1.0, self._given.deadline - self._now))

    def _delta(self, event: Delta) -> list[Action]:
        if self._now > self._given.deadline:
            return self._fail(_out_of_time(self._given.time_limit))
        shown = self._response.feed(event)
        return [*(_said(shown) if self._given.stream else []), *self._drafts()]

    def _drafts(self) -> list[Action]:
        prompt = self._response.prompt
        if self._run_id is None or not self._watched or self._final or prompt.choice == "none":
            return []
        if self._settings.stop_after_tool_calls:
            return []
        drafts = self._response.drafts()
        if not drafts:
            return []
        names = tellable(prompt, names_of(prompt.tools)) - self._node_s_names
        news = self._drafting.news(drafts[:1] if prompt.parallel is False else drafts, names)
        if not news:
            return []
        text = self._given.stream and bool(self._response.shown)
        request = DraftRequest(run_id=self._run_id, round=self._rounds, calls=news, streamed_text=text)
        begin = text and all(delta.offset == 0 for delta in news)
        boundary = [*_said(self._response.end_thought()), Heartbeat()] if begin else []
        return [*boundary, TellDrafts(self._given.invocation_id, request)]

    def _upstream_failed(self, event: UpstreamFailed) -> list[Action]:
        self._model_calls.add(event.asked, self._rounds, self._now)
        other = self._mode.instead(self._response.prompt, event)
        if other:
            self._mode = other
            return self._ask_again()
        pause = self._backoff.pause(event.retry_after)
        spoken = self._given.stream and bool(self._response.shown)
        worth_it = event.transient and self._backoff.failures < self._given.attempts and pause <= LONGEST_PAUSE
        if spoken and event.transient:
            return self._fail(type(event.error)(f"{event.error} {BEGUN}"))
        if worth_it and self._now + pause < self._given.deadline:
            return [Pause(pause)]
        return self._fail(event.error)

    def _call_again(self, _: Woke) -> list[Action]:
        return self._ask_again()

    def _ask_again(self) -> list[Action]:
        self._drafting.give_up()
        self._response = _Response(self._mode, self._response.prompt)
        return [*self._heartbeat(), self._upstream_call()]

    def _completed(self, event: Completed) -> list[Action]:
        response = self._response
        reply = response.close()
        if event.failed and not reply.calls:
            return self._upstream_failed(replace(event.failed, asked=event.asked))
        said = _said(response.tail if self._given.stream else response.shown)
        self._usage = event.usage or response.estimate()
        self._logprobs = event.logprobs
        self._total += self._usage
        self._model_calls.add(event.asked, self._rounds, self._now, self._usage, event.finish_reason)
        if reply.refusal:
            return [*said, *self._fail(Refused(reply.refusal))]
        if self._drafting and (self._final or not reply.calls):
            return [*said, *self._fail(Unavailable(HALF_A_CALL))]
        note = reminder(response.prompt, reply) if event.finish_reason != "content_filter" else None
        if note:
            return [*said, *self._remind(note)]
        self._reminded = False
        reply = replace(reply, calls=at_most(response.prompt, reply.calls))
        if not reply.calls:
            return [*said, *self._answer(event.finish_reason)]
        if self._given.tools and self._run_id is None:
            return [*said, *self._hand_over(reply.calls)]
        self._aside, reply = aside(reply, self._node_s_names)
        if self._aside and not reply.calls:
            return [*said, *self._hand_over(self._aside)]
        if self._final:
            missing = "" if response.shown else response.add(NO_ANSWER)
            return [*said, *_said(missing), *self._answer("stop")]
        return [*said, *self._ask_for_tools(reply, cut_off=event.finish_reason == "length")]

    def _remind(self, note: str) -> list[Action]:
        """Ask once more, since the response is not what was asked for."""
        prompt = self._response.prompt
        if self._reminded:
            return self._fail(ignored(prompt))
        self._reminded = True
        self._drafting.give_up()
        self._shown_before += self._response.shown
        self._response = _Response(self._mode, reminded(prompt, self._response.content, note))
        return [self._upstream_call()]

    def _answer(self, finish_reason: str) -> list[Action]:
        if finish_reason in {"tool_calls", "function_call"}:
            finish_reason = "stop"
        if self._run_id and self._as_text:
            pending_rounds.keep_as(self._kept_as, [*self._before, *self.carried])
        return self._record(Finish(finish_reason, self._total), finish_reason)

    # Tools of the node's own, which Dify runs

    @property
    def carried(self) -> list[Message]:
        """The rounds of this invocation, which Dify does not know of."""
        return self._messages[self._begun_with :]

    @property
    def _node_s_names(self) -> frozenset[str]:
        return frozenset(names_of(self._given.tools))

    def _with_node_s(self, client: Sequence[ToolDefinition], also: Mapping[str, str]) -> list[ToolDefinition]:
        """Return what is offered: of two tools with one name the node's own, since the flow was built with it."""
        allowed = allow(client, self._settings.allowed_tools, also)
        return [*self._given.tools, *(tool for tool in allowed if tool.name not in self._node_s_names)]

    def _hand_over(self, calls: Sequence[ToolCall]) -> list[Action]:
        pending_rounds.keep(self.carried, calls, carried_with(self._response.reasoning, calls))
        return self._end(Finish("tool_calls", self._total, repaired(calls, self._given.tools)))

    # A round

    def _ask_for_tools(self, reply: Reply, *, cut_off: bool) -> list[Action]:
        offered = [] if self._response.prompt.choice == "none" else self._response.prompt.tools
        self._round = sort_out(
            self._response.content,
            reply,
            offered,
            cut_off=cut_off,
            reasoning=self._response.reasoning,
            fitting=self._drafting.fitting if self._drafting else None,
        )
        if not self._round.runnable or self._run_id is None:
            self._drafting.give_up()
            self._shown_before += self._response.shown
            self._append(self._round.messages(()))
            return self._hand_over(self._aside) if self._aside else self._call()
        settled = self._drafting.settle(self._round.runnable)
        if settled is None:
            return self._fail(Unavailable(HALF_A_CALL))
        self._round.rename(settled)
        self._ticket_id = f"{self._given.invocation_id}r{self._rounds}"
        self._phase = Phase.OPENING
        self._hold()
        self._be_patient(self._given.deadline, self._wait_until)
        self._response.prompt = Prompt(())
        request = TicketRequest(
            run_id=self._run_id,
            invocation_id=self._given.invocation_id,
            round=self._rounds,
            content=self._round.content or None,
            reasoning=self._round.carried,
            shown=self._shown,
            calls=self._round.runnable,
            usage=self._usage,
            streamed_text=self._given.stream and bool(self._shown),
            wait_seconds=max(0.0, self._wait_until - self._now),
            stops=self._settings.stop_after_tool_calls,
            model_calls=self._model_calls.take(self._now),
        )
        return self._open(request)

    def _open(self, request: TicketRequest) -> list[Action]:
        """Hand over the calls and begin to wait, unless Dify is to hear first that the text before them is complete."""
        waits = not (request.stops or request.streamed_text)
        seconds = min(POLL_SECONDS, max(0.0, self._wait_until - self._now)) if waits else 0.0
        return [*self._heartbeat(), *self._exchange(OpenTicket(self._ticket_id, request, seconds))]

    def _stop(self) -> list[Action]:
        """End with the calls, for the nodes behind this one. What the results lead to is another workflow run's."""
        said = _said(stopping_text(self._shown, self._round.runnable))
        return [*said, *self._record(Finish("tool_calls", self._total), "tool_calls", stopped=True)]

    @property
    def _shown(self) -> str:
        """What Dify was given since the last ticket: a round that needed none is told with what came after it."""
        return self._shown_before + self._response.shown

    def _hold(self) -> None:
        limit = self._given.time_limit
        kept = min(ANSWER_SECONDS, limit / 5) if self._settings.on_callback_timeout == "answer" else 0
        self._wait_until = min(self._now + self._settings.callback_wait_seconds, self._given.hold_until - kept)

    def _opened(self, event: TicketReported) -> list[Action]:
        """The ticket is open. The empty chunk tells the bridge that the text before the calls is complete."""
        if self._settings.stop_after_tool_calls and event.status.state == "open":
            return self._stop()
        boundary = [Heartbeat()] if self._given.stream and self._shown else []
        self._shown_before = ""
        return [*boundary, *self._reported(event)]

    def _open_failed(self, event: BridgeFailed) -> list[Action]:
        return self._try_again(event) or self._end(Fail(event.error))

    def _wait(self) -> list[Action]:
        self._hold()
        return self._poll()

    def _poll(self) -> list[Action]:
        self._phase = Phase.WAITING
        left = self._wait_until - self._now
        if left <= 0:
            return self._let_go()
        poll = PollTicket(self._ticket_id, self._given.invocation_id, min(POLL_SECONDS, left))
        return [*self._heartbeat(), *self._exchange(poll)]

    def _reported(self, event: TicketReported) -> list[Action]:
        self._backoff.reset()
        status = event.status
        match status.state:
            case "open" if self._phase is Phase.LETTING_GO:
                limit, gave_way = self._given.time_limit, self._now < self._wait_until
                return self._fail(_suspended(self._name, self._settings, limit, gave_way=gave_way))
            case "open" if status.let_go:
                return self._suspend()
            case "open":
                return self._poll()
            case "resolved":
                return self._resolved(status)
            case "expired":
                return self._expired(status)
            case "cancelled":
                return self._fail(Cancelled(f"The run was cancelled: {status.reason or 'its client went away'}"))

    def _expired(self, status: TicketStatus) -> list[Action]:
        if self._phase is Phase.LETTING_GO and self._settings.on_callback_timeout == "fail":
            return self._fail(_results_missing(self._settings))
        self._note = EXPIRED_NOTE
        reason = f"{EXPIRED_RESULT}. {status.reason or ''}".strip()
        self._append(self._round.without(self._seen(status.results), reason))
        return self._hand_over(self._aside) if self._aside else self._call()

    def _resolved(self, status: TicketStatus) -> list[Action]:
        self._append(self._round.messages(self._seen(status.results), status.messages))
        if status.tools is not None:
            self._offered = self._with_node_s(status.tools, status.also)
        self._choice = after_round(self._choice)
        if status.tool_choice is not None and self._settings.tool_choice == "client":
            self._choice = status.tool_choice
        self._choice = resolve("client", self._choice, names_of(self._offered))
        return self._hand_over(self._aside) if self._aside else self._call()

    def _seen(self, results: Sequence[ToolResult]) -> Sequence[ToolResult]:
        return results if self._given.sees_images else [unseen(result) for result in results]

    def _append(self, messages: Sequence[Message]) -> None:
        self._messages = [*self._messages, *messages]
        self._rounds += 1

    def _poll_failed(self, event: BridgeFailed) -> list[Action]:
        if not event.transient:
            return self._end(Fail(event.error))
        pause = min(self._backoff.pause(), max(0.1, self._wait_until - self._now))
        return [*self._heartbeat(), Pause(pause)]

    # Letting go

    def _let_go(self) -> list[Action]:
        if self._settings.on_callback_timeout == "suspend":
            return self._suspend()
        self._phase = Phase.LETTING_GO
        self._be_patient(self._given.deadline)
        return self._exchange(ExpireTicket(self._ticket_id, self._given.invocation_id))

    def _suspend(self) -> list[Action]:
        self._phase = Phase.LETTING_GO
        self._be_patient(self._given.deadline)
        return self._exchange(SuspendTicket(self._ticket_id, self._given.invocation_id))

    def _let_go_failed(self, event: BridgeFailed) -> list[Action]:
        return self._try_again(event) or self._end(Fail(event.error))

    @property
    def _name(self) -> str:
        """What Dify is told of the run, so that the bridge finds its question again."""
        return f"{self._run_id} {marker_for(self._secret)}" if self._secret else str(self._run_id)

    # The end

    def _fail(self, error: ProviderError) -> list[Action]:
        return self._record(Fail(error), "error", str(error))

    def _record(
        self, last: Finish | Fail, finish_reason: str, error: str | None = None, *, stopped: bool = False
    ) -> list[Action]:
        if self._run_id is None:
            return self._end(last)
        self._phase = Phase.RECORDING
        self._last = [last]
        request = RecordRequest(
            run_id=self._run_id,
            text="" if error else self._shown,
            finish_reason=finish_reason,
            usage=self._usage,
            total_usage=self._total,
            rounds=self._rounds,
            error=error,
            stopped=stopped,
            logprobs=list(self._logprobs),
            model_calls=self._model_calls.take(self._now),
        )
        return [Record(self._given.invocation_id, request)]

    def _recorded(self, _: Recorded) -> list[Action]:
        self._phase = Phase.END
        return self._last

    def _end(self, last: Finish | Fail) -> list[Action]:
        self._phase = Phase.END
        return [last]

    # Pieces

    def _exchange(self, exchange: Exchange) -> list[Action]:
        self._retry = exchange
        return [exchange]

    def _be_patient(self, end: float, since: float = 0) -> None:
        self._backoff.reset()
        self._patient_until = min(max(self._now, since) + BRIDGE_PATIENCE, end)

    def _try_again(self, event: BridgeFailed) -> list[Action]:
        pause = self._backoff.pause()
        if not event.transient or self._now + pause >= max(self._wait_until, self._patient_until):
            return []
        return [*self._heartbeat(), Pause(pause)]

    def _again(self, _: Woke) -> list[Action]:
        if isinstance(self._retry, OpenTicket):
            return self._open(self._retry.request)
        return [*self._heartbeat(), self._retry]

    def _poll_again(self, _: Woke) -> list[Action]:
        return self._poll()

    def _heartbeat(self) -> list[Action]:
        due = self._given.stream and self._now - self._last_output >= HEARTBEAT_SECONDS
        return [Heartbeat()] if due else []


class _Response:
    """What the upstream has said so far in answer to one prompt."""

    def __init__(self, mode: Mode, prompt: Prompt) -> None:
        self.prompt = prompt
        self.tail = ""
        self._decoder = mode.decoder(prompt)
        self._think = ThinkBlock()
        self._content: list[str] = []
        self._shown: list[str] = []
        self._reasoning: list[str] = []
        self._reasoning_field = ""
        self._thought = False
        self._sealed = Growing()
        self._arguments = 0

    @property
    def content(self) -> str:
        """The text, without the reasoning."""
        return "".join(self._content)

    @property
    def shown(self) -> str:
        """What Dify shows: the reasoning in tags, and the text."""
        return "".join(self._shown)

    @property
    def reasoning(self) -> Message:
        """The reasoning alone, in the upstream's own fields."""
        fields = self._sealed.close()
        return fields | {self._reasoning_field: "".join(self._reasoning)} if self._reasoning_field else fields

    def feed(self, delta: Delta) -> str:
        """Take a delta and return the text to show."""
        self._reasoning.append(delta.reasoning)
        self._sealed.feed(delta.sealed)
        if delta.reasoning_field and not self._thought:
            self._reasoning_field, self._thought = delta.reasoning_field, bool(delta.reasoning)
        return self._show(delta.reasoning, self._decoder.feed(delta))

    def drafts(self) -> Sequence[Draft]:
        """Return the calls as far as they are written."""
        return self._decoder.drafts()

    def close(self) -> Reply:
        """End the response; `tail` is the text that only now can be shown."""
        reply = meant(self._decoder.close(), names_of(self.prompt.known or self.prompt.tools))
        self.tail = self._show("", reply.text) + self.end_thought()
        self._arguments = sum(estimate_text(call.name + call.arguments) for call in reply.calls)
        del self._decoder  # it weighs, and results may take long
        return reply

    def end_thought(self) -> str:
        """Show that a thought is over, before the bridge is told that all text has gone out."""
        return self.add(self._think.close())

    def add(self, text: str) -> str:
        """Show text that the model did not say."""
        self._shown.append(text)
        return text

    def _show(self, reasoning: str, text: str) -> str:
        self._content.append(text)
        shown = self._think.feed(reasoning, text)
        self._shown.append(shown)
        return shown

    def estimate(self) -> Usage:
        """Return about what the upstream would have counted."""
        return Usage(
            prompt_tokens=estimate_prompt(self.prompt.messages, (tool.to_openai() for tool in self.prompt.tools)),
            completion_tokens=estimate_text(self.shown) + self._arguments,
        )


def _said(text: str) -> list[Action]:
    return [Say(text)] if text else []


def _out_of_time(limit: float) -> Unavailable:
    return Unavailable(
        f"The answer was not finished within {limit:.0f} s, the time that Dify gives a model. To allow more, raise "
        "PLUGIN_MAX_EXECUTION_TIMEOUT and PLUGIN_DAEMON_TIMEOUT, and with them APP_MAX_EXECUTION_TIME and "
        "WORKFLOW_MAX_EXECUTION_TIME"
    )


def _suspended(name: str, settings: NodeSettings, limit: float, *, gave_way: bool) -> Suspended:
    why = (
        "other runs wait for its place at Dify (limits.dify_streams of the bridge)"
        if gave_way
        else "its tools have not answered yet"
    )
    longer = (
        ""
        if gave_way
        else (
            " To wait longer inside the workflow, raise this node's callback_wait_seconds "
            f"(now {settings.callback_wait_seconds}) and, beyond {limit:.0f} s, Dify's PLUGIN_MAX_EXECUTION_TIMEOUT, "
            "APP_MAX_EXECUTION_TIME and WORKFLOW_MAX_EXECUTION_TIME"
        )
    )
    return Suspended(
        f"The run {name} is suspended: {why}. The bridge runs this workflow again when the results arrive, and goes "
        f"on from here.{longer}"
    )


def _results_missing(settings: NodeSettings) -> ResultsMissing:
    return ResultsMissing(
        f"The results of the tools did not come within {settings.callback_wait_seconds} s (callback_wait_seconds), and "
        "this node is to fail then (on_callback_timeout)"
    )


def _run_not_found(reason: str | None) -> RunNotFound:
    why = f" ({clean(reason)})" if reason else ""
    return RunNotFound(
        f"The bridge knows no run that this node belongs to{why}, and this node is to fail then (on_run_not_found). "
        "Chat with the app through the bridge, or set on_run_not_found to answer"
    )


_HANDLERS: dict[tuple[Phase, type[Event]], Callable[[Engine, Any], list[Action]]] = {
    (Phase.START, Started): Engine._start,
    (Phase.ATTACHING, Attached): Engine._attached,
    (Phase.ATTACHING, BridgeFailed): Engine._attach_failed,
    (Phase.ATTACHING, Woke): Engine._attach,
    (Phase.CALLING, Delta): Engine._delta,
    (Phase.CALLING, Completed): Engine._completed,
    (Phase.CALLING, UpstreamFailed): Engine._upstream_failed,
    (Phase.CALLING, Woke): Engine._call_again,
    (Phase.OPENING, TicketReported): Engine._opened,
    (Phase.OPENING, BridgeFailed): Engine._open_failed,
    (Phase.OPENING, Woke): Engine._again,
    (Phase.WAITING, TicketReported): Engine._reported,
    (Phase.WAITING, BridgeFailed): Engine._poll_failed,
    (Phase.WAITING, Woke): Engine._poll_again,
    (Phase.LETTING_GO, TicketReported): Engine._reported,
    (Phase.LETTING_GO, BridgeFailed): Engine._let_go_failed,
    (Phase.LETTING_GO, Woke): Engine._again,
    (Phase.RECORDING, Recorded): Engine._recorded,
}
