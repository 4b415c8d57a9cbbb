"""The fields of a request that are for the model alone: the plugin passes them on to the upstream.

Source: OpenAI's API reference, chat completions.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from bridge.errors import InvalidRequest
from bridge.runs.sessions.openclaw import is_openclaw
from tools.results import Message

_LEAST_OF_OPENCLAW = 16
"""A smaller limit of OpenClaw's is not obeyed: it asks for 1 token when it believes that the context is full."""


def _string_or_list(value: Any) -> str:
    return "list" if isinstance(value, list) else "string"


class JsonSchema(BaseModel):
    """The schema that an answer is to follow."""

    model_config = ConfigDict(extra="ignore", defer_build=True, populate_by_name=True)

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


def check_schema(kind: str, schema: JsonSchema | None, param: str) -> None:
    """Raise InvalidRequest where a schema is to be followed and there is none; `param` is where it would stand."""
    if kind == "json_schema" and (schema is None or schema.schema_ is None):
        raise InvalidRequest(f"{param}: there is no schema to follow; give one, or ask for json_object", param=param)


class ResponseFormat(BaseModel):
    """Whether an answer is text, any JSON, or JSON by a schema."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def to_openai(self) -> dict[str, Any] | None:
        """Return the field as it goes upstream; text is what an absent one means."""
        return None if self.type == "text" else self.model_dump(exclude_none=True, by_alias=True)


class Sampling(BaseModel):
    """How the model is to write."""

    model_config = ConfigDict(extra="ignore", defer_build=True, use_attribute_docstrings=True)

    temperature: float | None = Field(default=None, ge=0, le=2, strict=True, allow_inf_nan=False)
    """How freely the model chooses its words."""
    top_p: float | None = Field(default=None, ge=0, le=1, strict=True, allow_inf_nan=False)
    """From how much of all likely words the model chooses."""
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, strict=True, allow_inf_nan=False)
    """How much the model avoids what was said already."""
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, strict=True, allow_inf_nan=False)
    """How much the model avoids what it said often."""
    seed: int | None = Field(default=None, strict=True, ge=-(2**63), lt=2**63)
    """The same seed gives the same answer, where the upstream can do that."""
    stop: (
        Annotated[
            Annotated[str, Tag("string")] | Annotated[list[str], Field(max_length=4), Tag("list")],
            Discriminator(_string_or_list),
        ]
        | None
    ) = None
    """Up to four texts before which the answer ends."""
    max_tokens: int | None = Field(default=None, ge=1, strict=True)
    """The older name of `max_completion_tokens`."""
    max_completion_tokens: int | None = Field(default=None, ge=1, strict=True)
    """How many tokens the answer may have. More than the app's limit is cut to it."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    """How much the model thinks first. A node's own setting wins, unless it says `client`."""
    verbosity: Literal["low", "medium", "high"] | None = None
    """How long the answer is to be."""
    response_format: ResponseFormat | None = None
    """Whether the answer is text, any JSON, or JSON by a schema."""

    def parameters(self, most_tokens: int, messages: Sequence[Message]) -> dict[str, Any]:
        """Return what goes to the plugin. The limit on the answer is called `max_tokens`, as a node calls it."""
        names = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "reasoning_effort")
        carried = {name: getattr(self, name) for name in (*names, "verbosity")}
        carried["stop"] = [self.stop] if isinstance(self.stop, str) else self.stop or None
        carried["response_format"] = self.response_format.to_openai() if self.response_format else None
        limit = self.max_completion_tokens or self.max_tokens or 0
        least = _LEAST_OF_OPENCLAW if limit < _LEAST_OF_OPENCLAW and is_openclaw(messages) else 1
        carried["max_tokens"] = min(limit, most_tokens) if limit >= least else None
        return {name: value for name, value in carried.items() if value is not None}
