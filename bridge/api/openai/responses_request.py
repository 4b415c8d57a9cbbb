"""What a client sends to `/v1/responses`, checked, and read in the terms of chat completions.

Source: OpenAI's API reference, responses. Unknown fields are ignored, as OpenAI's servers do.
"""

import json
from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import chain
from typing import Annotated, Any, ClassVar, Literal, cast, get_args

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bridge.api.bodies import checked
from bridge.api.openai.chat_messages import (
    ArgumentsText,
    CallId,
    CallName,
    Part,
    SoundPart,
    data_as_text,
    text_in,
    text_of_nothing,
)
from bridge.api.openai.chat_request import JsonSchema, ResponseFormat, Sampling, check_schema
from bridge.api.openai.tool_choice import FlatToolChoice, echoed, flat_name, functions_of, left_out, note_of, offer
from bridge.api.openai.turns import Ask, Words
from bridge.api.reading import checked_once
from bridge.errors import InvalidRequest
from bridge.runs.services import in_pieces
from bridge.runs.transcripts import Said, again, come_again, grown
from bridge.store.exchanges import Piece, piece_of
from tools.definitions import Function, ToolDefinition
from tools.marker import strip_markers, without_markers
from tools.results import Message, ToolResult


class InputText(Part):
    """Text."""

    type: Literal["input_text", "output_text", "text"]
    text: str


class InputRefusal(Part):
    """The model's refusal."""

    type: Literal["refusal"]
    refusal: str


class InputImage(Part):
    """An image: a URL, or the image itself as a data URI."""

    type: Literal["input_image"]
    image_url: str = Field(pattern=r"^(https?://|data:image/)")
    detail: Literal["auto", "low", "high", "original"] | None = None


class InputFile(Part):
    """A file as a data URI."""

    type: Literal["input_file"]
    file_data: str = Field(pattern=r"^data:")
    filename: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_here(cls, value: Any) -> Any:
        if isinstance(value, dict) and not value.get("file_data") and (value.get("file_id") or value.get("file_url")):
            raise ValueError("a file is taken as file_data alone: send the file itself, as a data URI")
        return value


class InputAudio(SoundPart):
    """A sound."""


def _string_or_parts(value: Any) -> str:
    return "parts" if isinstance(value, list) else "string"


_Content = Annotated[InputText | InputRefusal | InputImage | InputFile | InputAudio, Field(discriminator="type")]
type _Contents = Annotated[
    Annotated[str, Tag("string")] | Annotated[list[_Content], Tag("parts")], Discriminator(_string_or_parts)
]


class _Item(Part):
    """An item of a response's input."""

    @cached_property
    def part(self) -> Said | None:
        """What it is of a message, which others may belong to as well; None where nothing of it goes back."""
        message = _message_of(self)
        return None if message is None else Said(message)

    @cached_property
    def stored(self) -> Piece:
        """What the store keeps of it."""
        return piece_of(json.dumps(self.model_dump(exclude_none=True), ensure_ascii=False))


class MessageItem(_Item):
    """A message."""

    type: Literal["message"] = "message"
    id: str | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[_Contents, BeforeValidator(text_of_nothing)]


class FunctionCallItem(_Item):
    """A call that the model asked for."""

    type: Literal["function_call"]
    id: str | None = None
    call_id: CallId = ""
    name: CallName = ""
    namespace: str | None = None
    arguments: ArgumentsText = "{}"

    @property
    def known_as(self) -> str:
        """The name that the model knows."""
        return flat_name(self.name, self.namespace)


class CustomCallItem(_Item):
    """A call of a custom tool."""

    type: Literal["custom_tool_call"]
    id: str | None = None
    call_id: CallId = ""
    name: CallName = ""
    namespace: str | None = None
    input: str = ""

    @property
    def known_as(self) -> str:
        """The name that the model knows."""
        return flat_name(self.name, self.namespace)

    @property
    def arguments(self) -> str:
        """The text, as the function's only argument."""
        return json.dumps({"input": self.input}, ensure_ascii=False)


class ShellCallItem(_Item):
    """A command that the client's machine runs."""

    type: Literal["local_shell_call"]
    id: str | None = None
    call_id: CallId = ""
    action: dict[str, Any] = Field(default_factory=dict)

    known_as: ClassVar[str] = "local_shell"

    @property
    def arguments(self) -> str:
        """What is run."""
        return json.dumps({name: value for name, value in self.action.items() if name != "type"}, ensure_ascii=False)


class CommandsCallItem(_Item):
    """Commands that the client runs."""

    type: Literal["shell_call"]
    id: str | None = None
    call_id: CallId = ""
    action: dict[str, Any] = Field(default_factory=dict)

    known_as: ClassVar[str] = "shell"

    @property
    def arguments(self) -> str:
        """What is run."""
        return json.dumps(self.action, ensure_ascii=False)


class PatchCallItem(_Item):
    """A change of a file that the client makes."""

    type: Literal["apply_patch_call"]
    id: str | None = None
    call_id: CallId = ""
    operation: dict[str, Any] = Field(default_factory=dict)

    known_as: ClassVar[str] = "apply_patch"

    @property
    def arguments(self) -> str:
        """What is changed."""
        return json.dumps({"operation": self.operation}, ensure_ascii=False)


class SearchCallItem(_Item):
    """A search for tools that the client makes, or that OpenAI's servers made."""

    type: Literal["tool_search_call"]
    id: str | None = None
    call_id: CallId = ""
    arguments: ArgumentsText = "{}"

    known_as: ClassVar[str] = "tool_search"


class OutputItem(_Item):
    """What came of a call."""

    type: Literal[
        "function_call_output",
        "custom_tool_call_output",
        "local_shell_call_output",
        "shell_call_output",
        "apply_patch_call_output",
    ]
    id: str | None = None
    call_id: CallId = ""
    output: Annotated[_Contents, BeforeValidator(text_of_nothing), BeforeValidator(data_as_text)]

    @model_validator(mode="before")
    @classmethod
    def _says_whether_it_was_done(cls, value: Any) -> Any:
        """A patch may have no other output than its status."""
        if not isinstance(value, dict) or value.get("type") != "apply_patch_call_output":
            return value
        said = [told for name in ("status", "output") if isinstance(told := value.get(name), str) and told]
        return value | {"output": "\n".join(said)}

    @model_validator(mode="after")
    def _has_a_call(self) -> "OutputItem":
        self.call_id = self.call_id or self.id or ""
        return self


class SearchOutputItem(_Item):
    """The tools that a client's search has found: they are on offer from then on."""

    type: Literal["tool_search_output"]
    id: str | None = None
    call_id: CallId = ""
    tools: list[dict[str, Any]] = Field(default_factory=list)


class AdditionalToolsItem(_Item):
    """Tools that are on offer from then on."""

    type: Literal["additional_tools"]
    id: str | None = None
    role: str = "developer"
    tools: list[dict[str, Any]]


_BRINGERS = (SearchOutputItem, AdditionalToolsItem)
_BEFORE = "previous_response_id"


class ReasoningItem(_Item):
    """What the model thought. `encrypted_content` is for the server that made it: other servers' is only kept."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: Any = None
    content: Any = None
    encrypted_content: Any = None

    @property
    def carried(self) -> Message:
        """What the upstream wants back of the thought, where the bridge put it there."""
        try:
            details = json.loads(self.encrypted_content)
        except (TypeError, ValueError, RecursionError):
            return {}
        told = isinstance(details, list) and all(isinstance(each, dict) for each in details)
        return {"reasoning_details": details} if details and told else {}


_THOUGHT = "reasoning"
"""The role of what was thought, until it is found which message it belongs to."""


_NOT_OURS = {"compaction", "compaction_summary", "context_compaction", "compaction_trigger"}
_NOT_OURS_EITHER = ("_call", "_call_output", "_list_tools", "_approval_request", "_approval_response", "ghost_snapshot")


class SkippedItem(_Item):
    """What other makers' servers did, or nobody here knows; nothing of it goes back."""

    type: str

    @property
    def is_known(self) -> bool:
        """Whether it is known to mean nothing here."""
        return self.type in _NOT_OURS or self.type.endswith(_NOT_OURS_EITHER)


class ItemReference(_Item):
    """An item of an earlier response, by its id."""

    type: Literal["item_reference"]
    id: str


def _with_type(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    if "type" not in item and "role" in item:
        return {"type": "message", **item}
    # OpenAI's own example of a reference names no type.
    return {"type": "item_reference", **item} if list(item) == ["id"] else item


_OUTPUTS = set(get_args(OutputItem.model_fields["type"].annotation))
_OWN = {
    "message",
    "function_call",
    "custom_tool_call",
    "local_shell_call",
    "shell_call",
    "apply_patch_call",
    "tool_search_call",
    "tool_search_output",
    "additional_tools",
    "reasoning",
    "item_reference",
}


def _item_kind(item: Any) -> str | None:
    kind = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
    if not isinstance(kind, str) or kind in _OWN:
        return kind
    return "output" if kind in _OUTPUTS else "skipped"


Item = Annotated[
    Annotated[
        Annotated[MessageItem, Tag("message")]
        | Annotated[FunctionCallItem, Tag("function_call")]
        | Annotated[CustomCallItem, Tag("custom_tool_call")]
        | Annotated[ShellCallItem, Tag("local_shell_call")]
        | Annotated[CommandsCallItem, Tag("shell_call")]
        | Annotated[PatchCallItem, Tag("apply_patch_call")]
        | Annotated[SearchCallItem, Tag("tool_search_call")]
        | Annotated[SearchOutputItem, Tag("tool_search_output")]
        | Annotated[AdditionalToolsItem, Tag("additional_tools")]
        | Annotated[OutputItem, Tag("output")]
        | Annotated[ReasoningItem, Tag("reasoning")]
        | Annotated[ItemReference, Tag("item_reference")]
        | Annotated[SkippedItem, Tag("skipped")],
        Discriminator(
            _item_kind,
            custom_error_type="union_tag_unknown",
            custom_error_message=f"must be one of {', '.join(sorted(_OWN | _OUTPUTS))}",
        ),
    ],
    BeforeValidator(_with_type),
]


def _lasting(item: _Item) -> _Item:
    if item.part is not None:
        item.part.comes_again = True
    return item


class ResponsesTool(Part):
    """A tool on offer, of whatever kind: `bridge.api.openai.tool_choice` says what becomes of it."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    type: str


class TextFormat(JsonSchema):
    """Whether an answer is text, any JSON, or JSON by a schema."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = Field(default="answer", pattern=r"^[a-zA-Z0-9_-]{1,64}$")


class TextConfig(Part):
    """What the answer's text is to be like."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(Part):
    """How much the model is to think."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


def _string_or_items(value: Any) -> str:
    return "items" if isinstance(value, list) else "string"


_UNSUPPORTED = {
    "conversation": "conversations are not supported; continue with previous_response_id",
    "prompt": "prompts are not supported; the app holds its own",
}


class ResponsesRequest(Part):
    """The body of a request for a response, as far as the bridge uses it."""

    model: str
    """The model id of an app, or one of its aliases."""
    input: (
        Annotated[
            Annotated[str, Tag("string")] | Annotated[list[Item], checked_once(_Item, _lasting), Tag("items")],
            Discriminator(_string_or_items),
        ]
        | None
    ) = None
    """A text, or items: messages, calls, call outputs, reasoning, and references to earlier items."""
    instructions: str | None = None
    """Instructions before everything else, for this response only."""
    previous_response_id: str | None = None
    """The id of the response to continue."""
    stream: bool | None = False
    """Whether to stream the response as events."""
    background: bool | None = False
    """Whether the response continues without its client, which retrieves it later."""
    store: bool | None = True
    """Whether the response can be retrieved and continued later."""
    tools: list[ResponsesTool] | None = None
    """The client's tools: functions, namespaces of functions, custom tools, `shell`, `local_shell`, `apply_patch` and
    its own `tool_search`. The bridge ignores tools that it does not know or the client does not run, and says so in the
    answer."""
    tool_choice: FlatToolChoice | None = None
    """`auto`, `none`, `required`, a function, or `allowed_tools`. The bridge and the plugin enforce it if the
    upstream does not."""
    parallel_tool_calls: bool | None = None
    """Whether the model may call several tools at once."""
    temperature: float | None = Field(default=None, ge=0, le=2, strict=True, allow_inf_nan=False)
    """The sampling temperature."""
    top_p: float | None = Field(default=None, ge=0, le=1, strict=True, allow_inf_nan=False)
    """The nucleus sampling threshold."""
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, strict=True, allow_inf_nan=False)
    """Penalises tokens that occur in the text so far."""
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, strict=True, allow_inf_nan=False)
    """Penalises tokens by how often they occur in the text so far."""
    max_output_tokens: int | None = Field(default=None, ge=1, strict=True)
    """The largest number of tokens in the answer, up to the app's `max_output_tokens`."""
    include: list[str] | None = None
    """`message.output_text.logprobs` asks for the log probability of each token of the answer."""
    top_logprobs: int | None = Field(default=None, ge=0, le=20, strict=True)
    """So many of the likeliest tokens at each place, with these."""
    text: TextConfig | None = None
    """`format`: text, any JSON, or JSON with a schema. `verbosity`: how long the answer should be."""
    reasoning: Reasoning | None = None
    """`effort`: how much the model reasons."""
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    """Up to 16 texts, which are also values for the variables of the app's Start node."""
    user: str | None = None
    """Separates conversations: requests with different values never share one. Several conversations may use the
    same value."""
    prompt_cache_key: str | None = None
    """Separates conversations, like `user`."""
    safety_identifier: str | None = None
    """Accepted and returned, but without effect."""
    max_tool_calls: int | None = Field(default=None, ge=1, strict=True)
    """Accepted and returned, but without effect: it limits tools that a server runs."""
    inputs: dict[str, Any] | None = None
    """Clawback's own field: values for the variables of the app's Start node."""
    prompt: Any = None
    """Refused: the app has its own prompt."""
    conversation: Any = None
    """Refused: use `previous_response_id` to continue."""

    @field_validator("prompt", "conversation")
    @classmethod
    def _is_unsupported(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None:
            raise ValueError(_UNSUPPORTED[str(info.field_name)])
        return value

    @field_validator("store")
    @classmethod
    def _can_be_asked_for(cls, store: bool | None, info: ValidationInfo) -> bool | None:
        if store is False and info.data.get("background"):
            raise ValueError("background needs store: a response that is not kept cannot be asked for")
        return store

    @property
    def items(self) -> "list[Item]":
        """The input as items; a text is a user's message."""
        if isinstance(self.input, str):
            return [MessageItem(role="user", content=self.input)]
        return self.input or []

    def offered(self, before: Sequence[Item] = ()) -> "Offered":
        """Return the tools that items brought before, the client's own, and what its input brings, in this order."""
        own = [(f"tools[{position}]", tool.model_dump()) for position, tool in enumerate(self.tools or ())]
        earlier = ((_BEFORE, tool) for item in before if isinstance(item, _BRINGERS) for tool in item.tools)
        now = (
            (f"input[{position}].tools[{number}]", tool)
            for position, item in enumerate(self.items)
            if isinstance(item, _BRINGERS)
            for number, tool in enumerate(item.tools)
        )
        brought: dict[str, tuple[str, dict[str, Any]]] = {}
        for path, tool in in_pieces(chain(earlier, now)):
            # What is brought again with each request is there once, where it was brought last.
            text = json.dumps(tool, sort_keys=True)
            brought.pop(text, None)
            brought[text] = path, tool
        of_before = [each for each in brought.values() if each[0] == _BEFORE]
        return [*of_before, *own, *(each for each in brought.values() if each[0] != _BEFORE)]

    def note(self, offered: "Offered") -> str | None:
        """Return what of the request was left out, None where nothing was."""
        unknown = [item.type for item in self.items if isinstance(item, SkippedItem) and not item.is_known]
        items = f"items of unknown kinds were left out: {', '.join(dict.fromkeys(unknown))}" if unknown else None
        return "; ".join(filter(None, (note_of(left_out(tool for _, tool in offered)), items))) or None

    def sampling(self) -> Sampling:
        """Return what is for the model alone, in the terms of chat completions."""
        format_ = self.text.format if self.text else None
        response_format = None
        if format_ and format_.type != "text":
            schema = JsonSchema(**format_.model_dump(exclude={"type"})) if format_.type == "json_schema" else None
            response_format = ResponseFormat(type=format_.type, json_schema=schema)
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            max_completion_tokens=self.max_output_tokens,
            reasoning_effort=self.reasoning.effort if self.reasoning else None,
            verbosity=self.text.verbosity if self.text else None,
            response_format=response_format,
            logprobs=self._asks_for_logprobs,
            top_logprobs=self.top_logprobs if self._asks_for_logprobs else None,
        )

    @property
    def _asks_for_logprobs(self) -> bool:
        return "message.output_text.logprobs" in (self.include or ())

    def echo(self, offered: "Offered") -> dict[str, Any]:
        """Return what a response repeats of its request, and says of it."""
        note = self.note(offered)
        return {
            **({"clawback": {"note": note}} if note else {}),
            "background": bool(self.background),
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "metadata": self.metadata or {},
            "model": self.model,
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "previous_response_id": self.previous_response_id,
            "prompt_cache_key": self.prompt_cache_key,
            "reasoning": {"effort": self.reasoning.effort if self.reasoning else None, "summary": None},
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "text": self._text_echo(),
            "tool_choice": self._tool_choice_echo(),
            "tools": echoed(tool for _, tool in offered),
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "presence_penalty": self.presence_penalty or 0.0,
            "frequency_penalty": self.frequency_penalty or 0.0,
            "top_logprobs": self.top_logprobs or 0,
            "store": self.store is not False,
            "service_tier": "default",
            "max_tool_calls": self.max_tool_calls,
            "safety_identifier": self.safety_identifier,
            "truncation": "disabled",
            "user": self.user,
        }

    def _tool_choice_echo(self) -> Any:
        choice = self.tool_choice or "auto"
        return choice if isinstance(choice, str) else choice.model_dump()

    def _text_echo(self) -> dict[str, Any]:
        format_, verbosity = (self.text.format, self.text.verbosity) if self.text else (None, None)
        if format_ and format_.type == "json_schema":
            shown = format_.model_dump(by_alias=True, exclude_none=True)
        else:
            shown = {"type": format_.type if format_ else "text"}
        return {"format": shown} | ({"verbosity": verbosity} if verbosity else {})


Offered = list[tuple[str, dict[str, Any]]]
"""Tools, each with its path in the request."""


def parse_responses_request(body: dict[str, Any]) -> ResponsesRequest:
    """Check `body`. Raises InvalidRequest whose `param` is the path of the first field that is wrong."""
    asked = checked(ResponsesRequest, body)
    if asked.text and (form := asked.text.format):
        check_schema(form.type, form, "text.format.schema")
    return asked


_WORDS = Words(
    "input",
    "a function_call must be followed by a function_call_output with its call_id",
    "the function_call_output with that call_id",
)


def ask_of(
    asked: ResponsesRequest,
    body: dict[str, Any],
    before: Sequence[Item],
    items: Sequence[Item],
    offered: Offered,
    most_tokens: int,
) -> Ask:
    """Return what the request asks for. `before` is the conversation that it continues, `items` its resolved input."""
    tools, choice = offer(_definitions(offered), asked.tool_choice)
    _check_files(items)
    told = chat_messages(items)
    known = [*chat_messages(before), *told] if before else told
    loose: list[ToolResult] = []
    # Without words of the user's, results that nobody asked for are all that there is: then they are refused.
    spoken = any(isinstance(item, MessageItem) and item.role == "user" for item in items)
    if asked.previous_response_id or not spoken:
        called = {call["id"] for message in known for call in message.get("tool_calls") or ()}
        if asked.previous_response_id:
            _check_calls(items, called)
        if not spoken:
            loose = [
                ToolResult.model_validate({"tool_call_id": item.call_id, "output": _result(item)})
                for item in items
                if isinstance(item, OutputItem) and strip_markers(item.call_id) not in called
            ]
            known = [message for message in known if message["role"] != "tool" or message["tool_call_id"] in called]
    if not known and not loose:
        raise InvalidRequest("input: there is nothing to answer", param="input")
    if asked.instructions:
        instructions = {"role": "system", "content": asked.instructions}
        known = [again(without_markers(instructions)) if come_again(known) else instructions, *known]
    return Ask(
        model=asked.model,
        body=body,
        messages=known,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=asked.parallel_tool_calls,
        parameters=asked.sampling().parameters(most_tokens, known),
        inputs={**(asked.metadata or {}), **(asked.inputs or {})},
        results=loose,
        words=_WORDS,
    )


def chat_messages(items: Sequence[Item]) -> list[Message]:
    """Return the items as messages: neighbouring calls, and the text before them, are one assistant message."""
    return _put_together([part for item in in_pieces(items) if (part := item.part) is not None])[0]


def _message_of(item: object) -> Message | None:
    match item:
        case MessageItem():
            return {"role": item.role, "content": _content(item)}
        case ReasoningItem():
            return {"role": _THOUGHT, **item.carried}
        case (
            FunctionCallItem()
            | CustomCallItem()
            | ShellCallItem()
            | CommandsCallItem()
            | PatchCallItem()
            | SearchCallItem()
        ):
            function = {"name": item.known_as, "arguments": item.arguments or "{}"}
            call = {"id": item.call_id, "type": "function", "function": function}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        case OutputItem():
            return {"role": "tool", "tool_call_id": item.call_id, "content": _result(item)}
        case SearchOutputItem():
            found = json.dumps(item.tools, ensure_ascii=False)
            return {"role": "tool", "tool_call_id": item.call_id, "content": found}
        case _:
            return None


@grown((list[Message](), cast("Message | None", None), Message()))
def _put_together(
    before: tuple[list[Message], Message | None, Message], parts: Sequence[Message], count: int
) -> tuple[list[Message], Message | None, Message]:
    """Return the messages of these parts, the last one as it came, and what was thought at their end."""
    told, last, thought = before
    messages = [] if last is None else [last]
    if last is not None and "tool_calls" in last:
        messages = [last | {"tool_calls": list(last["tool_calls"])}]
    for part in in_pieces(parts[count:]):
        last = messages[-1] if messages and messages[-1]["role"] == "assistant" else None
        role, calls = part["role"], part.get("tool_calls")
        if role == _THOUGHT:
            carried = {name: value for name, value in part.items() if name != "role"}
            if last is None:
                thought = carried
            else:
                # Clients keep items in the order in which they ended.
                messages[-1] = last | carried
        elif calls and last is not None and "tool_calls" in last:
            last["tool_calls"] += calls
        elif calls and last is not None:
            messages[-1] = last | {"tool_calls": list(calls)}
        elif role == "assistant":
            asked = {"tool_calls": list(calls)} if calls else {}
            messages.append({"role": role, "content": part["content"], **thought, **asked})
            thought = {}
        else:
            messages.append(dict(part))
            thought = thought if role == "tool" else {}
    clean = map(without_markers, in_pieces(messages))
    told = [*told[:-1], *(map(again, clean) if come_again(parts) else clean)]
    return told, messages[-1] if messages else None, thought


def _definitions(offered: Offered) -> list[ToolDefinition]:
    """Return the functions on offer; of those of one name the last counts, but in `tools` itself there is one."""
    definitions: dict[str, ToolDefinition] = {}
    own: set[str] = set()
    for path, tool in offered:
        for below, function, _ in functions_of(tool):
            try:
                definition = ToolDefinition(function=Function.model_validate(function, strict=True))
            except ValidationError as error:
                problem = error.errors()[0]
                param = ".".join([path + below, *map(str, problem["loc"])])
                raise InvalidRequest(f"{param}: {problem['msg']}", param=param) from None
            if path.startswith("tools") and not below:
                if definition.name in own:
                    raise InvalidRequest(f"two tools are named {definition.name!r}", param=path)
                own.add(definition.name)
            definitions[definition.name] = definition
    return list(definitions.values())


def _result(item: OutputItem) -> str | list[dict[str, Any]]:
    """Return what a call gave; a file is a text where it can be read as one."""
    if isinstance(item.output, str):
        return item.output
    parts = [_in_result(part) for part in item.output]
    return parts if any(part["type"] != "text" for part in parts) else "\n".join(part["text"] for part in parts)


def _in_result(part: _Content) -> dict[str, Any]:
    match part:
        case InputFile():
            text, name = text_in(part.file_data), part.filename or "file"
            return {"type": "text", "text": f"({name} is not shown)" if text is None else f"{name}:\n{text}"}
        case InputAudio():
            return {"type": "text", "text": "(a sound is not shown)"}
        case _:
            return _part(part)


def _check_calls(items: Sequence[Item], called: Collection[str]) -> None:
    """Refuse results of calls that neither the previous response nor the request holds: they are another one's."""
    for position, item in enumerate(items):
        if isinstance(item, OutputItem) and strip_markers(item.call_id) not in called:
            raise InvalidRequest(
                f"the previous response has no call with the id {item.call_id}",
                code="unknown_tool_call_id",
                param=f"input[{position}].call_id",
            )


def _check_files(items: Sequence[Item]) -> None:
    """Refuse what the model would not see of the results that it waits for. What is over and done is not refused."""
    for position in reversed(range(len(items))):
        match items[position]:
            case MessageItem(role="user"):
                return
            case OutputItem(output=list() as parts):
                for number, part in enumerate(parts):
                    if isinstance(part, InputAudio) or (
                        isinstance(part, InputFile) and text_in(part.file_data) is None
                    ):
                        raise InvalidRequest(
                            "a call's output holds text, images and files of text; send what is in this one as text",
                            param=f"input[{position}].output[{number}]",
                        )
            case _:
                pass


def _content(item: MessageItem) -> str | list[dict[str, Any]]:
    if isinstance(item.content, str) or item.role == "assistant":
        return _text(item.content)
    return [_part(part) for part in item.content]


def _part(part: _Content) -> dict[str, Any]:
    match part:
        case InputImage():
            image = {"url": part.image_url, **({"detail": part.detail} if part.detail else {})}
            return {"type": "image_url", "image_url": image}
        case InputAudio():
            return part.model_dump()
        case InputFile():
            return {"type": "file", "file": part.model_dump(include={"file_data", "filename"}, exclude_none=True)}
        case _:
            return {"type": "text", "text": _text([part])}


def _text(content: str | list[Any]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(
        part.text
        if isinstance(part, InputText)
        else part.refusal
        if isinstance(part, InputRefusal)
        else f"({part.type})"
        for part in content
    )


def items_of(stored: str) -> list[Item]:
    """Return the items that `stored_items` wrote."""
    return ResponsesRequest.model_validate({"model": "", "input": json.loads(stored)}).items


def stored_items(items: Sequence[Item]) -> list[Piece]:
    """Return the items as JSON, with their digests."""
    return [item.stored for item in items]
