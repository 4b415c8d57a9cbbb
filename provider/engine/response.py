"""One response: whether it does what was asked, its reasoning as Dify shows it, and its tokens where nobody counts."""

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from provider.errors import ChoiceIgnored
from provider.modes.mode import Prompt, Reply
from tools.calls import ToolCall
from tools.choices import forced_name
from tools.definitions import names_of
from tools.names import safe_names
from tools.results import Message, text_of

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


class ThinkBlock:
    """Wraps streamed reasoning in `<think>` tags; what follows it is the answer."""

    def __init__(self) -> None:
        self._open = False

    def feed(self, reasoning: str, text: str) -> str:
        """Take a delta's reasoning and text and return the text to show."""
        shown = ""
        if reasoning:
            shown = reasoning if self._open else f"<think>\n{reasoning}"
            self._open = True
        return shown + self.close() + text if text else shown

    def close(self) -> str:
        """Return the closing tag where one is missing."""
        if not self._open:
            return ""
        self._open = False
        return "\n</think>\n\n"


_WIDE = re.compile(r"[\u2e80-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_CHARS_PER_TOKEN = 4
_PER_MESSAGE = 4
_PER_MEDIUM = 500


def estimate_text(text: str) -> int:
    """Return about how many tokens `text` is: one for an East Asian character, one for four others."""
    wide = len(_WIDE.findall(text))
    return wide + math.ceil((len(text) - wide) / _CHARS_PER_TOKEN)


def estimate_prompt(messages: Iterable[Mapping[str, Any]], tools: Iterable[Mapping[str, Any]] = ()) -> int:
    """Return about how many tokens a request with `messages` and `tools` is."""
    return sum(map(_message, messages)) + sum(estimate_text(json.dumps(tool, ensure_ascii=False)) for tool in tools)


def _message(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    media = sum(part.get("type") != "text" for part in content) if isinstance(content, list) else 0
    calls = json.dumps(message["tool_calls"], ensure_ascii=False) if message.get("tool_calls") else ""
    return _PER_MESSAGE + estimate_text(text_of(content)) + estimate_text(calls) + media * _PER_MEDIUM
