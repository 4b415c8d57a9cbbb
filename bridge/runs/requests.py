"""What a client asked for, as the rest of the bridge sees it and as a run keeps it."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from bridge.config import Token
from tools.choices import ToolChoice
from tools.definitions import ToolDefinition
from tools.results import Message


class RunRequest(BaseModel):
    """The request that starts a run; stored with it, since every attempt of the run begins from it.

    `messages[turn]` is the user message whose cleaned text is `query`. `given` and `frame` are digests of the client's
    own values for the app's variables, and of what else came with its words. `asker` is the token that it showed, and
    `client` whose that is: others take no part in the run. An executors' run keeps Dify's UUID of the user that it
    belongs to, the conversation where the node names it, and whether a resumed workflow began it.
    """

    messages: list[Message]
    turn: int | None
    query: str
    tools: list[ToolDefinition] = Field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, Any] = Field(default_factory=dict)
    given: str = ""
    frame: str = ""
    asker: Token = Token.CLIENT
    client: str = "default"
    end_user: str | None = None
    conversation: str | None = None
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class RequestKeys:
    """Digests by which a request is known again: of its turn, of all of it, and of its Idempotency-Key with that."""

    turn: str
    request: str | None = None
    idempotency: str | None = None


class Reply(BaseModel):
    """What a follow-up said besides its tool results."""

    messages: list[Message] = Field(default_factory=list)
    tools: list[ToolDefinition] | None = None
    tool_choice: ToolChoice | None = None
