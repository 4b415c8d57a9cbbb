"""The models on offer. Each is a row of data; nothing elsewhere asks for a model by its name."""

from dataclasses import dataclass, field

from demo.scripted.quirks import Quirks
from demo.scripted.refusal import Refusal
from demo.scripted.text_formats import FORMATS, Format
from demo.scripted.vendors import QUIRKS

TEXT_PREFIX = "scripted-text-"
LIKE_PREFIX = "scripted-like-"
CARRIED = frozenset({"reasoning_content", "reasoning", "reasoning_details", "reasoning_text", "reasoning_opaque"})
"""What imitated vendors write into messages and take back."""


@dataclass(frozen=True)
class Model:
    """How one model behaves and what it refuses."""

    name: str
    context: int = 200_000  # tokens
    text_format: Format | None = None  # writes its calls as text and refuses every field about tools
    reasons: bool = False  # streams `reasoning_content` first
    tool_content_is_string: bool = False  # refuses a tool message whose content is a list of parts
    known_schema_keywords_only: bool = False  # refuses schema keywords that JSON Schema does not define
    extra_message_fields: frozenset[str] = frozenset()
    quirks: Quirks = field(default_factory=Quirks)


_MODELS = (
    Model("scripted"),
    Model("scripted-light"),
    # DeepSeek's API takes only a string there: https://api-docs.deepseek.com/api/create-chat-completion
    Model("scripted-deepseek", tool_content_is_string=True, extra_message_fields=frozenset({"reasoning_content"})),
    Model("scripted-small-context", context=24_000),
    Model("scripted-strict-schema", known_schema_keywords_only=True),
    Model("scripted-reasoning", reasons=True, extra_message_fields=frozenset({"reasoning_content"})),
    *(
        Model(f"{LIKE_PREFIX}{vendor}", reasons=bool(quirks.thought), extra_message_fields=CARRIED, quirks=quirks)
        for vendor, quirks in QUIRKS.items()
    ),
    *(Model(f"{TEXT_PREFIX}{format_.name}", text_format=format_) for format_ in FORMATS.values()),
)

MODELS = {model.name: model for model in _MODELS}


def find_model(name: str) -> Model:
    """The model of that name; what follows a colon is a tag, as in Ollama's names. Raises `Refusal` (404)."""
    try:
        return MODELS[name.partition(":")[0]]
    except KeyError:
        raise Refusal(
            f"There is no model '{name}' here. GET /v1/models lists them.",
            param="model",
            code="model_not_found",
            status=404,
        ) from None
