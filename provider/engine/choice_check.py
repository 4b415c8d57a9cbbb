"""Holds a response against what was asked of it: whether tools must, must not or may be called, and how many at once.

Upstreams ignore `tool_choice` and `parallel_tool_calls`, and a model that is told in words may do as it likes. A
response that does not fit is asked for once more, in plain words; then it is an error.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from provider.errors import ChoiceIgnored
from provider.modes.mode import Prompt, Reply
from tools.calls import ToolCall
from tools.choices import forced_name
from tools.definitions import names_of
from tools.names import safe_names
from tools.results import Message

_NAMED = "(Call the tool {name} now. Do not answer in any other way.)"
_REQUIRED = "(Call one of the tools now. Do not answer in any other way.)"
_NONE = "(Answer now in words, without calling a tool.)"


def reminder(prompt: Prompt, reply: Reply) -> str | None:
    """Return what to tell a model whose reply is not what `prompt` asks for, None where it is."""
    if not prompt.tools:
        return None
    name = forced_name(prompt.choice)
    if name is not None:
        plain = safe_names(names_of(prompt.tools)).get(name, name)
        return None if any(call.name == name for call in reply.calls) else _NAMED.format(name=plain)
    if prompt.choice == "required":
        return None if reply.calls else _REQUIRED
    return _NONE if prompt.choice == "none" and reply.calls else None


def reminded(prompt: Prompt, content: str, note: str) -> Prompt:
    """Return the prompt that asks once more; `content` is what the model said."""
    said: list[Message] = [{"role": "assistant", "content": content}] if content.strip() else []
    return replace(prompt, messages=[*prompt.messages, *said, {"role": "user", "content": note}])


def ignored(prompt: Prompt) -> ChoiceIgnored:
    """Return the error where asking once more did not help."""
    name = forced_name(prompt.choice)
    wanted = {"none": "no tool may be called"}.get(str(prompt.choice), f"{name or 'a tool'} must be called")
    return ChoiceIgnored(
        f"The model was asked twice and did not keep to tool_choice: {wanted}. Choose another model, or leave the "
        "choice to it (tool_choice of this node or of the client: auto)"
    )


def at_most(prompt: Prompt, calls: Sequence[ToolCall]) -> Sequence[ToolCall]:
    """Return the calls that count: where only one at a time may be made the first, or the first that is forced.

    The others are as if they had never been made: the model sees the one's result, and then makes the next itself.
    """
    if prompt.parallel is not False or len(calls) < 2:
        return calls
    forced = forced_name(prompt.choice)
    return [next((call for call in calls if call.name == forced), calls[0])]


def tellable(prompt: Prompt, names: Collection[str]) -> set[str]:
    """Return of the tools `names` those whose calls will count, whatever else the response holds."""
    forced = forced_name(prompt.choice)
    return {name for name in names if forced in (None, name)}
