"""What a client asked for, as the rest of the bridge sees it and as a run keeps it."""

from typing import Any

from pydantic import BaseModel, Field

from bridge.access import Token
from tools.choices import ToolChoice
from tools.definitions import ToolDefinition
from tools.results import Message


class RunRequest(BaseModel):
    """The request that starts a run; stored with it, since every attempt of the run begins from it.

    `messages[turn]` is the user message whose cleaned text is `query`. `anonymous` says that the client named no
    session, so that the transcript has to lead to it; `asker` is the token that it showed, and nobody who shows another
    one takes part in the run. An executors' run keeps Dify's UUID of the user that it belongs
    to, the conversation where the node names it, and whether a resumed workflow began it.
    """

    messages: list[Message]
    turn: int | None
    query: str
    tools: list[ToolDefinition] = Field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, Any] = Field(default_factory=dict)
    anonymous: bool = False
    asker: Token = Token.CLIENT
    end_user: str | None = None
    conversation: str | None = None
    resumed: bool = False


class Reply(BaseModel):
    """What a follow-up said besides its tool results."""

    messages: list[Message] = Field(default_factory=list)
    tools: list[ToolDefinition] | None = None
    tool_choice: ToolChoice | None = None
