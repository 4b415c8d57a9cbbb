"""One round: the calls of a response, those that nobody can run answered at once, and the messages it becomes."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from provider.modes.mode import Reply
from tools.calls import ToolCall, arguments_problem, assistant_message
from tools.results import Message, ToolResult
from tools.wire import OpenTicket

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_SHOWN_TOOLS = 40


@dataclass
class OpenRound:
    """A round whose results are awaited. `calls` are all of them, `own` the results that need no tool."""

    content: str
    calls: Sequence[ToolCall]
    own: dict[str, ToolResult] = field(default_factory=dict)
    reasoning: Message = field(default_factory=dict)

    @property
    def runnable(self) -> list[ToolCall]:
        """The calls that go into a ticket."""
        return [call for call in self.calls if call.id not in self.own]

    def rename(self, runnable: Sequence[ToolCall]) -> None:
        """Give the calls that go into a ticket other ids."""
        renamed = iter(runnable)
        self.calls = [call if call.id in self.own else next(renamed) for call in self.calls]

    def messages(self, results: Iterable[ToolResult], then: Sequence[Message] = ()) -> list[Message]:
        """Return the assistant message, one tool message for each call in call order, and what the client said `then`.

        The reasoning goes back in the field in which it came: DeepSeek's models refuse to go on without it, see
        https://api-docs.deepseek.com/guides/thinking_mode
        """
        by_id = self.own | {result.tool_call_id: result for result in results}
        said = assistant_message(self.content, list(self.calls)) | self.reasoning
        answers = [
            by_id.get(call.id, ToolResult(tool_call_id=call.id, output="(no result)", is_error=True))
            for call in self.calls
        ]
        return [said, *(answer.to_message() for answer in answers), *then]

    def failed(self, reason: str) -> list[Message]:
        """Return the round's messages where no call was run."""
        return self.messages(ToolResult(tool_call_id=call.id, output=reason, is_error=True) for call in self.runnable)


def aside(reply: Reply, names: Collection[str]) -> tuple[list[ToolCall], Reply]:
    """Return the calls of the tools `names`, which somebody else runs, and the reply without them."""
    theirs = [call for call in reply.calls if call.name in names]
    return theirs, replace(reply, calls=[call for call in reply.calls if call.name not in names])


def sort_out(
    content: str, reply: Reply, offered: Collection[str], *, cut_off: bool, reasoning: Message | None = None
) -> OpenRound:
    """Return the round of a reply. Calls that nobody can run get a result at once, so that the model mends them.

    Such a call stands in the transcript in a form that upstreams accept: they refuse a history with names outside
    `[a-zA-Z0-9_-]`, and some fail on arguments that are not JSON.
    """
    calls: list[ToolCall] = []
    own: dict[str, ToolResult] = {}
    for call in reply.calls:
        problem = reply.problems.get(call.id) or _problem(call, offered, cut_off=cut_off)
        if problem:
            own[call.id] = ToolResult(tool_call_id=call.id, output=f"Error: {problem}", is_error=True)
            call = _presentable(call)
        calls.append(call)
    return OpenRound(content, calls, own, reasoning or {})


def _problem(call: ToolCall, offered: Collection[str], *, cut_off: bool) -> str | None:
    if call.name not in offered:
        names = ", ".join(list(offered)[:_SHOWN_TOOLS])
        return f"there is no tool {call.name!r}. " + (
            f"The tools are: {names}." if names else "There are no tools now."
        )
    problem = arguments_problem(call.arguments)
    if problem and cut_off:
        return "the call was cut off because the response became too long (max_tokens). Nothing was run."
    return f"{problem}. Nothing was run; call the tool again with a JSON object." if problem else None


def _presentable(call: ToolCall) -> ToolCall:
    name = _NOT_IN_NAMES.sub("_", call.name)[:64]
    return call.model_copy(
        update={"name": name, "arguments": "{}" if arguments_problem(call.arguments) else call.arguments}
    )


def of_ticket(ticket: OpenTicket) -> OpenRound:
    """Return the round that an earlier try of the invocation left open."""
    return OpenRound(ticket.content or "", ticket.calls)
