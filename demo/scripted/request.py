"""A chat completion request, once it is known to be sound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demo.scripted.models import Model


@dataclass(frozen=True)
class Request:
    """What `demo.scripted.strict.read_request` made of a request's body."""

    model: Model
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    tool_choice: str  # "auto", "none", "required", or the name of a declared tool after "="
    parallel: bool
    stream: bool
    include_usage: bool
    logprobs: int | None  # so many likeliest tokens beside each; None: not asked for
    max_tokens: int | None
    stop: Sequence[str]
    response_format: Mapping[str, Any]
    prompt_tokens: int

    @property
    def tool_names(self) -> list[str]:
        """The declared tools' names, in the request's order."""
        return [tool["function"]["name"] for tool in self.tools]
