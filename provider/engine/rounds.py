"""One round: the calls of a response, those that nobody can run answered at once, and the messages it becomes."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from provider.modes.mode import Reply
from tools.arguments import Checked, checked
from tools.calls import ToolCall, arguments_problem, assistant_message
from tools.carried import OF_CALLS, with_extras
from tools.definitions import ToolDefinition
from tools.results import Message, ToolResult, images_message
from tools.wire import OpenTicket, Round

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_SHOWN_TOOLS = 40
_AGAIN = "Nothing was run; call the tool again with a JSON object that fits."


@dataclass
class OpenRound:
    """A round whose results are awaited. `calls` are all of them, `own` the results that need no tool."""

    content: str
    calls: Sequence[ToolCall]
    own: dict[str, ToolResult] = field(default_factory=dict)
    reasoning: Message = field(default_factory=dict)

    @property
    def carried(self) -> Message:
        """What goes back with the round, that of its calls by the ids that they have now."""
        return carried_with(self.reasoning, self.calls)

    @property
    def runnable(self) -> list[ToolCall]:
        """The calls that go into a ticket."""
        return [call for call in self.calls if call.id not in self.own]

    def rename(self, runnable: Sequence[ToolCall]) -> None:
        """Give the calls that go into a ticket other ids."""
        renamed = iter(runnable)
        self.calls = [call if call.id in self.own else next(renamed) for call in self.calls]

    def messages(self, results: Iterable[ToolResult], then: Sequence[Message] = ()) -> list[Message]:
        """Return the assistant message, one tool message for each call in call order, then the images of the results.

        What the client said `then` comes last. The reasoning goes back as it came: many servers refuse to go on
        without it, see `tools.carried`.
        """
        by_id = self.own | {result.tool_call_id: result for result in results}
        said = with_extras(assistant_message(self.content, list(self.calls)), self.carried)
        answers = [
            by_id.get(call.id, ToolResult(tool_call_id=call.id, output="(no result)", is_error=True))
            for call in self.calls
        ]
        images = images_message(answers)
        return [said, *(answer.to_message() for answer in answers), *([images] if images else []), *then]

    def without(self, results: Sequence[ToolResult], reason: str) -> list[Message]:
        """Return the round's messages where only these `results` came; the other calls are answered with `reason`."""
        came = {result.tool_call_id for result in results}
        missing = [
            ToolResult(tool_call_id=call.id, output=reason, is_error=True)
            for call in self.runnable
            if call.id not in came
        ]
        return self.messages([*results, *missing])


def aside(reply: Reply, names: Collection[str]) -> tuple[list[ToolCall], Reply]:
    """Return the calls of the tools `names`, which somebody else runs, and the reply without them."""
    theirs = [call for call in reply.calls if call.name in names]
    return theirs, replace(reply, calls=[call for call in reply.calls if call.name not in names])


_PREFIX = re.compile(r"^\s*(functions?|tools?|default_api|api|namespace)\s*[.:/]+\s*", re.IGNORECASE)
_SUFFIX = re.compile(r"\s*([:#]\s*\d+|\(\s*\))?\s*$")


def meant(reply: Reply, names: Collection[str]) -> Reply:
    """Return the reply with the tools' names as they are, where models write more, or in other cases or blanks.

    Two tools that differ in that alone are told apart by nothing else: no name is taken for one of them.
    """

    def name(given: str) -> str:
        if given in names:
            return given
        bare = {_folded(given), _folded(_SUFFIX.sub("", _PREFIX.sub("", given)))}
        found = [known for known in names if _folded(known) in bare]
        return found[0] if len(found) == 1 else given

    return replace(reply, calls=[call.model_copy(update={"name": name(call.name)}) for call in reply.calls])


def _folded(name: str) -> str:
    return "".join(name.split()).casefold()


def repaired(calls: Iterable[ToolCall], tools: Iterable[ToolDefinition]) -> list[ToolCall]:
    """Return calls of Dify's own tools with arguments that fit, where only one meaning is possible."""
    parameters = {tool.name: tool.function.parameters for tool in tools}
    return [
        call.model_copy(update={"arguments": checked(call.arguments, parameters[call.name]).arguments})
        if call.name in parameters
        else call
        for call in calls
    ]


def sort_out(
    content: str,
    reply: Reply,
    offered: Iterable[ToolDefinition],
    *,
    cut_off: bool,
    reasoning: Message | None = None,
    fitting: Callable[[ToolCall, str], str | None] | None = None,
) -> OpenRound:
    """Return the round of a reply. Calls that nobody can run get a result at once, so that the model mends them.

    Such a call stands in the transcript in a form that upstreams accept: they refuse a history with names outside
    `[a-zA-Z0-9_-]`, and some fail on arguments that are not JSON. `fitting` makes mended arguments fit what the
    client has heard of a call; where they cannot, the call stays as it was written, and it is the client that holds it
    against the tool's schema, as with any other model.
    """
    tools = {tool.name: tool for tool in offered}
    calls: list[ToolCall] = []
    own: dict[str, ToolResult] = {}
    for call in reply.calls:
        call, problem = _checked(call, tools.get(call.name), cut_off=cut_off, fitting=fitting)
        problem = reply.problems.get(call.id) or problem or _unknown(call.name, tools)
        if problem:
            own[call.id] = ToolResult(tool_call_id=call.id, output=f"Error: {problem}", is_error=True)
            call = _presentable(call, known=call.name in tools)
        calls.append(call)
    return OpenRound(content, calls, own, reasoning or {})


def carried_with(reasoning: Message, calls: Iterable[ToolCall]) -> Message:
    """Return what goes back with a message and with its calls."""
    extras = {call.id: call.extra for call in calls if call.extra}
    return reasoning | {OF_CALLS: extras} if extras else reasoning


def _unknown(name: str, offered: Collection[str]) -> str | None:
    if name in offered:
        return None
    names = ", ".join(islice(offered, _SHOWN_TOOLS))
    return f"there is no tool {name!r}. " + (f"The tools are: {names}." if names else "There are no tools now.")


def _checked(
    call: ToolCall, tool: ToolDefinition | None, *, cut_off: bool, fitting: Callable[[ToolCall, str], str | None] | None
) -> tuple[ToolCall, str | None]:
    """Return the call as it should reach its tool, and what is wrong with it."""
    broken = arguments_problem(call.arguments)
    if broken and cut_off:
        return call, "the call was cut off because the response became too long (max_tokens). Nothing was run."
    found = Checked(call.arguments, broken) if tool is None else checked(call.arguments, tool.function.parameters)
    arguments: str | None = found.arguments
    if fitting and not (broken and found.problem):
        arguments = None if found.problem else fitting(call, found.arguments)
        if arguments is None:
            return call, f"{broken}. {_AGAIN}" if broken else None
        found = Checked(arguments)
    return call.model_copy(
        update={"arguments": found.arguments}
    ), f"{found.problem}. {_AGAIN}" if found.problem else None


def _presentable(call: ToolCall, *, known: bool) -> ToolCall:
    name = call.name if known else _NOT_IN_NAMES.sub("_", call.name)[:64]
    return call.model_copy(
        update={"name": name, "arguments": "{}" if arguments_problem(call.arguments) else call.arguments}
    )


def unseen(result: ToolResult) -> ToolResult:
    """Return the result for a model that takes no images."""
    count = len(result.images)
    if not count:
        return result
    note = f"({count} image{'s' if count > 1 else ''}, which this model cannot see)"
    return result.model_copy(update={"images": [], "output": "\n".join(filter(None, (result.output, note)))})


def of_ticket(ticket: OpenTicket) -> OpenRound:
    """Return the round that an earlier try of the invocation left open."""
    return OpenRound(ticket.content or "", ticket.calls, reasoning=dict(ticket.reasoning))


def of_journal(done: Round) -> OpenRound:
    """Return a round that an earlier try of the invocation finished."""
    return OpenRound(done.content or "", done.calls, reasoning=dict(done.reasoning))
