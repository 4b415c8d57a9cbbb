"""The bodies and queries that the service API takes.

Source: controllers/service_api/app/{completion,workflow,conversation,message,workflow_events}.py.
"""

import uuid
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

type ResponseMode = Literal["blocking", "streaming"]


def _uuid_or_nothing(value: object) -> object:
    value = value.strip() if isinstance(value, str) else value
    if not value:
        return None
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        raise ValueError("conversation_id must be a valid UUID") from None


def _uuid_or_empty(value: str) -> str:
    if value == "":
        return value
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise ValueError("must be a valid UUID") from None


type UuidOrEmpty = Annotated[str, AfterValidator(_uuid_or_empty)]


class ChatRequest(BaseModel):
    """`POST /v1/chat-messages`."""

    model_config = ConfigDict(title="ChatRequestPayload")

    inputs: dict[str, Any]
    query: str
    files: list[dict[str, Any]] | None = None
    response_mode: ResponseMode | None = None
    conversation_id: Annotated[str | None, BeforeValidator(_uuid_or_nothing)] = None
    auto_generate_name: bool = True
    workflow_id: str | None = None


class WorkflowRequest(BaseModel):
    """`POST /v1/workflows/run`."""

    inputs: dict[str, Any]
    files: list[dict[str, Any]] | None = None
    response_mode: ResponseMode | None = None


class CompletionRequest(BaseModel):
    """`POST /v1/completion-messages`."""

    inputs: dict[str, Any]
    query: str = ""
    files: list[dict[str, Any]] | None = None
    response_mode: ResponseMode | None = None


class FormRequest(BaseModel):
    """`POST /v1/form/human_input/{token}`."""

    model_config = ConfigDict(title="HumanInputFormSubmitPayload")

    inputs: dict[str, Any]
    action: str


class ConversationQuery(BaseModel):
    """`GET /v1/conversations`."""

    last_id: UuidOrEmpty | None = None
    limit: int = Field(default=20, ge=1, le=100)
    sort_by: Literal["created_at", "-created_at", "updated_at", "-updated_at"] = "-updated_at"


class RenameRequest(BaseModel):
    """`POST /v1/conversations/{id}/name`."""

    name: str | None = None
    auto_generate: bool = False

    @model_validator(mode="after")
    def _needs_a_name(self) -> Self:
        if not self.auto_generate and not (self.name or "").strip():
            raise ValueError("name is required when auto_generate is false")
        return self


class MessageQuery(BaseModel):
    """`GET /v1/messages`."""

    conversation_id: UuidOrEmpty
    first_id: UuidOrEmpty | None = None
    limit: int = Field(default=20, ge=1, le=100)
