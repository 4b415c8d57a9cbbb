"""What every mode does: it writes requests and reads responses."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from provider.engine.events import Delta, UpstreamFailed
from tools.calls import Draft, ToolCall
from tools.choices import ToolChoice
from tools.definitions import ToolDefinition
from tools.results import Message


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is to see: a transcript in OpenAI's form, and the tools on offer.

    `known` are the tools by whose names a call in the text is recognised: those on offer, or once there are none any
    more those that were. `data` says that the answer is to be JSON, which is no call whatever it looks like.
    """

    messages: Sequence[Message]
    tools: Sequence[ToolDefinition] = ()
    choice: ToolChoice = "auto"
    parallel: bool | None = None
    known: Sequence[ToolDefinition] = ()
    data: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """How a response ended: the last `text`, and the calls. `problems` says what is wrong with some, by their id.

    `refusal` says why the whole response cannot be taken.
    """

    text: str = ""
    calls: Sequence[ToolCall] = ()
    problems: dict[str, str] = field(default_factory=dict)
    refusal: str = ""


class Decoder(Protocol):
    """Reads one response."""

    def feed(self, delta: Delta) -> str:
        """Take a delta and return the text that may be shown by now."""

    def drafts(self) -> Sequence[Draft]:
        """Return the calls as far as they are written, where the mode can tell."""

    def close(self) -> Reply:
        """End the response."""


class Mode(Protocol):
    """Writes requests and reads responses."""

    def encode(self, prompt: Prompt) -> dict[str, Any]:
        """Return the request's fields for `prompt`: `messages` and whatever goes with the tools."""

    def decoder(self, prompt: Prompt) -> Decoder:
        """Return what reads the response to `prompt`."""

    def instead(self, prompt: Prompt, failed: UpstreamFailed) -> "Mode | None":
        """Return the mode that may do better where the upstream refused `prompt` as this one wrote it."""
