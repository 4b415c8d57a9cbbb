"""What a model can do: what the form says counts most, then what a probe found out, then what its vendor's entry says.

There is no storage inside Dify's daemon for a model plugin, so findings live as long as this process. That is enough:
Dify keeps a model's schema for an hour, and asks again with the same credentials.
"""

from dataclasses import dataclass

from provider.credentials import Credentials

_MOST = 256


@dataclass(frozen=True, slots=True)
class Findings:
    """What a probe found out; None is what it could not."""

    tools: bool | None = None
    streamed_tools: bool | None = None
    tool_choice: bool | None = None
    structured_output: bool | None = None
    vision: bool | None = None
    usage: bool | None = None
    reasoning: bool | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What is taken for true of a model."""

    tools: bool
    native_tools: bool
    streamed_tools: bool
    tool_choice: bool
    structured_output: bool
    vision: bool
    audio: bool
    video: bool
    document: bool
    reasoning: bool


_findings: dict[str, Findings] = {}


def remember(form: Credentials, model: str, findings: Findings) -> None:
    """Keep what was found out about Dify's `model` behind these credentials."""
    if len(_findings) >= _MOST:
        del _findings[next(iter(_findings))]
    _findings[form.identity(model)] = findings


def forget() -> None:
    """Forget all findings."""
    _findings.clear()


def findings_about(form: Credentials, model: str) -> Findings | None:
    """Return what was found out, None where nobody has looked."""
    return _findings.get(form.identity(model)) if form.names(model) else None


def capabilities(form: Credentials, model: str) -> Capabilities:
    """Return what is taken for true of Dify's `model`."""
    found, vendor = findings_about(form, model) or Findings(), form.vendor
    chat = form.completion_mode == "chat"
    native = chat and _settled(form.tool_support, {"not_streamed": True, "in_text": False}, found.tools, vendor.tools)
    return Capabilities(
        tools=form.tool_support != "off",
        native_tools=native,
        streamed_tools=form.tool_support != "not_streamed" and found.streamed_tools is not False,
        tool_choice=_settled(form.tool_choice_support, {}, found.tool_choice, vendor.tool_choice),
        structured_output=chat
        and _settled(form.structured_output_support, {}, found.structured_output, vendor.structure == "json_schema"),
        vision=chat and _settled(form.vision_support, {}, found.vision, vendor.vision),
        audio=chat and form.audio_support == "on",
        video=chat and form.video_support == "on",
        document=chat and form.document_support == "on",
        reasoning=form.reasoning_support not in {"auto", "none"}
        or (form.reasoning_support == "auto" and bool(found.reasoning)),
    )


def _settled(said: str, others: dict[str, bool], found: bool | None, expected: bool) -> bool:
    by_form = ({"on": True, "off": False} | others).get(said)
    if by_form is not None:
        return by_form
    return expected if found is None else found
