"""What a node sets. Dify does not send a parameter that is switched off, so the defaults live here."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from provider.errors import Refused

OnTimeout = Literal["suspend", "answer", "fail"]
OnNoRun = Literal["answer", "fail"]
ModeName = Literal["auto", "structured", "openclaw_text"]


class NodeSettings(BaseModel):
    """The parameters of one node, all optional. The model's YAML shows the same defaults."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    external_tool_callback_enabled: bool = False
    tool_call_mode: ModeName = "auto"
    text_call_promotion: bool = True
    tool_choice: str = "client"
    allowed_tools: str = ""
    max_tool_call_rounds: int = Field(default=20, ge=1, le=200)
    callback_wait_seconds: int = Field(default=300, ge=0, le=86_400)
    on_callback_timeout: OnTimeout = "suspend"
    stop_after_tool_calls: bool = False
    on_run_not_found: OnNoRun = "answer"
    callback_key: str = ""
    callback_label: str = ""
    parameters_from: Literal["node", "client"] = "node"

    # What follows goes to the upstream as it is, and only where the node sets it.
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    thinking: bool | None = None
    reasoning_effort: str | None = None
    parallel_tool_calls: bool | None = None
    response_format: str | None = None
    json_schema: str | None = None
    extra_body: str | None = None
    extra_headers: str | None = None

    @classmethod
    def read(cls, parameters: Mapping[str, Any]) -> Self:
        """Read a node's parameters. Raises Refused, which names the parameter to change."""
        given = {name: value for name, value in parameters.items() if value is not None and value != ""}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problems = [f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors()]
            raise Refused(f"The node's settings cannot be used. {'; '.join(problems)}") from None

    def identity(self) -> dict[str, Any]:
        """Return what makes this node the same node when its workflow runs again. Variables may hold a run's own id."""
        return self.model_dump(exclude_unset=True, exclude={"callback_key", "extra_headers", "extra_body"})
