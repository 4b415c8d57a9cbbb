"""A model's schema as Dify wants it: what it can do, which parameters it has, what it costs."""

from decimal import Decimal

from dify_plugin.entities.model import (  # type: ignore[import-untyped]
    AIModelEntity,
    ModelFeature,
    ModelPropertyKey,
    ParameterRule,
    PriceConfig,
)

from provider.credentials import Credentials
from provider.upstream.capabilities import Capabilities

_PER_MILLION = Decimal("0.000001")
_FEATURES: dict[ModelFeature, str] = {
    ModelFeature.MULTI_TOOL_CALL: "tools",
    # Where the upstream does not stream its calls, or writes them as text, Dify gets them in its stream all the same.
    ModelFeature.STREAM_TOOL_CALL: "tools",
    ModelFeature.VISION: "vision",
    ModelFeature.AUDIO: "audio",
    ModelFeature.VIDEO: "video",
    ModelFeature.DOCUMENT: "document",
    ModelFeature.AGENT_THOUGHT: "reasoning",
    ModelFeature.STRUCTURED_OUTPUT: "structured_output",
}
_OF_REASONING = {"thinking", "reasoning_effort"}
_OF_FORMAT = {"response_format", "json_schema"}


def schema_for(static: AIModelEntity, form: Credentials, can: Capabilities) -> AIModelEntity:
    """Return the schema from the YAML as these credentials make it. `static` is not changed."""
    features = [feature for feature, ability in _FEATURES.items() if getattr(can, ability)]
    hidden = (_OF_REASONING if form.reasoning_support == "none" else set()) | (
        _OF_FORMAT if form.completion_mode == "completion" else set()
    )
    return static.model_copy(
        update={
            "features": features,
            "model_properties": static.model_properties
            | {ModelPropertyKey.CONTEXT_SIZE: form.context_size, ModelPropertyKey.MODE: form.completion_mode},
            "parameter_rules": [_rule(rule, form) for rule in static.parameter_rules if rule.name not in hidden],
            "pricing": PriceConfig(
                input=form.input_price, output=form.output_price, unit=_PER_MILLION, currency=form.price_currency
            ),
        }
    )


def _rule(rule: ParameterRule, form: Credentials) -> ParameterRule:
    if rule.name != "max_tokens":
        return rule
    limit = form.max_output_tokens
    return rule.model_copy(update={"max": limit, "default": min(rule.default, limit)})
