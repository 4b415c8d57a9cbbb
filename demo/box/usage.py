"""A run's token usage as `message_end` tells it."""

from graphon.model_runtime.entities.llm_entities import LLMUsage


def usage_with_times(
    usage: LLMUsage, begun_at: float, first_token_at: float | None, last_token_at: float | None
) -> dict[str, object]:
    """The usage with seconds to the first token and from there to the last, measured over the whole run."""
    values = usage.model_dump(mode="json")
    if first_token_at is not None:
        values["time_to_first_token"] = round(first_token_at - begun_at, 3)
        values["time_to_generate"] = round((last_token_at or first_token_at) - first_token_at, 3)
    return values
