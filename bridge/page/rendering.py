"""The page's texts, each language in a file of its own, the templates, and how they write foreign text."""

import base64
import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

from flask import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bridge.server.figures import clock, day, duration, figure, moment, short
from bridge.server.said import Said, named_in, said
from bridge.store.clock import now
from bridge.store.rows import CallRow
from tools.calls import arguments_of

LANGUAGES = {"en": "English", "zh-Hans": "简体中文"}
COOKIE = "clawback_language"
_SPOKEN = {"en": "en", "zh": "zh-Hans"}


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one language, by their keys."""

    code: str
    texts: dict[str, str] = field(repr=False)

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with these values in it."""
        return self.texts[key].format(**values)

    def count(self, key: str, number: int) -> str:
        """Return a text about so many things."""
        one = f"{key}.one"
        return self(one if number == 1 and one in self.texts else key, n=number)

    def word(self, group: str, name: str) -> str:
        """Return the word for something the bridge has a name for; what is new is shown by that name."""
        return self.texts.get(f"{group}.{name}", name.replace("_", " "))

    def verdict(self, verdict: str) -> str:
        """Return which rule of the policy judged a call, or why none did."""
        number = verdict.removeprefix("rule ")
        return self("verdict.rule", n=number) if number.isdecimal() else self.texts.get(f"verdict.{verdict}", verdict)

    def said(self, text: str) -> Said:
        """Return what the bridge says in this language, as far as its catalogue has it."""
        return said(self.code, text)

    def hop(self, name: str) -> str:
        """Return what one of doctor's hops is called."""
        return named_in(self.code, "hops", name)

    def actor(self, actor: str) -> str:
        """Return who did something: the client, say, or the operator of some name."""
        return named_in(self.code, "actors", actor)


@cache
def texts(code: str) -> Texts:
    """Read a language's texts."""
    source = files(__package__).joinpath("texts", f"{code}.toml").read_text(encoding="utf-8")
    return Texts(
        code, {key: value for group, entries in tomllib.loads(source).items() for key, value in _flat(group, entries)}
    )


def _flat(prefix: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in _flat(f"{prefix}.{key}", inner)]
    return [(prefix, str(value))]


def chosen(request: Request) -> Texts:
    """Return the texts in the language that was chosen here, or else in one that the browser asks for."""
    code = request.cookies.get(COOKIE, "")
    if code not in LANGUAGES:
        asked = (language.partition("-")[0].lower() for language in request.accept_languages.values())
        code = next((_SPOKEN[language] for language in asked if language in _SPOKEN), "en")
    return texts(code)


LONGEST_SHOWN = 20_000
"""How many characters of one text are shown."""

_LONGEST_LINE = 80

_BUFFERED = 128
"""So many pieces of a template's text are sent at once."""

_BY_THE_CLOCK = re.compile(r'(?<=<span data-)((?:since|tick)="[\d.]+">)[^<]*| x="[\d.]+%" width="[\d.]+%"')

# What cannot be seen, or makes text look like another: control characters, and those that turn its direction round.
_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


@dataclass(frozen=True)
class Piece:
    """A part of a page that changes as a whole. `key` names it on its page; `given` may write it once it is read."""

    key: str
    given: str | Callable[[], str]

    @cached_property
    def html(self) -> str:
        """What the browser is sent."""
        return self.given if isinstance(self.given, str) else self.given()

    @property
    def list(self) -> str:
        """Which of its page's lists it stands in."""
        return "lanes" if self.key.startswith("lane-") else ""

    @cached_property
    def digest(self) -> str:
        """What tells it from an earlier one. That time goes by is no change."""
        timeless = _BY_THE_CLOCK.sub(r"\1", self.html)
        return hashlib.sha256(timeless.encode(errors="replace")).hexdigest()[:16]


def render(template: str, t: Texts, **values: object) -> str:
    """Fill in a template. Every value is text; nothing in it becomes markup."""
    return _environment().get_template(template).render(t=t, now=now(), **values)


def render_by_and_by(template: str, t: Texts, **values: object) -> Iterator[str]:
    """Fill in a template, and yield what of it is there already."""
    stream = _environment().get_template(template).stream(t=t, now=now(), **values)
    stream.enable_buffering(_BUFFERED)
    yield from stream


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clock": clock,
        "moment": moment,
        "seconds": duration,
        "short": short,
        "day": day,
        "figure": figure,
        "percent": percent,
        "visible": visible,
        "pretty": pretty,
        "named": named,
        "sent": sent,
        "images": images_of,
    }
    environment.globals["asset"] = asset
    return environment


@cache
def asset(name: str) -> str:
    """Return the address of a file that the page is made with; another content has another address."""
    return f"/page/{name}?{hashlib.sha256(static(name)).hexdigest()[:12]}"


@cache
def static(name: str) -> bytes:
    """Return the content of such a file."""
    return files(__package__).joinpath("static", name).read_bytes()


def percent(part: float, whole: float, least: float = 0.0) -> str:
    """Write where something stands on an axis, or how long it is there."""
    return f"{min(max(part / whole * 100 if whole > 0 else 0.0, least), 100.0):.3f}%"


def visible(text: str, longest: int = LONGEST_SHOWN) -> Markup:
    """Write foreign text: what cannot be seen is named, and what is too long is cut."""
    text = text.replace("\r\n", "\n")
    shown, rest = text[:longest], len(text) - longest
    pieces, last = Markup(), 0
    for found in _INVISIBLE.finditer(shown):
        pieces += shown[last : found.start()]
        pieces += Markup("<mark>U+{:04X}</mark>").format(ord(found.group()))
        last = found.end()
    pieces += shown[last:]
    return pieces + (Markup("<mark>… +{}</mark>").format(rest) if rest > 0 else "")


def pretty(arguments: str) -> str:
    """Write a call's arguments over several lines; what cannot be seen in them is escaped as JSON does it."""
    try:
        written = json.dumps(json.loads(arguments), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        written = arguments
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found.group()):04x}", written)


def named(arguments: str) -> list[tuple[str, str]] | None:
    """Return a call's arguments by name, texts as they are and the rest as JSON; None where they are no JSON object."""
    values = arguments_of(arguments)
    if values is None:
        return None
    return [(name, value if isinstance(value, str) else _written(value)) for name, value in values.items()]


def _written(value: object) -> str:
    flat = json.dumps(value, ensure_ascii=False)
    return flat if len(flat) <= _LONGEST_LINE else json.dumps(value, ensure_ascii=False, indent=2)


_IMAGE = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,")


def image_of(call: CallRow, number: int) -> tuple[str, bytes]:
    """Return the type and the bytes of an image in a call's result; nothing where it is none that browsers only draw.

    One that stands elsewhere is not fetched: who made the result would learn who looks at it.
    """
    images = json.loads(call.images) if call.images else []
    url = str(images[number]) if number < len(images) else ""
    found = _IMAGE.match(url)
    try:
        return (found[1], base64.b64decode(url[found.end() :])) if found else ("", b"")
    except ValueError:
        return "", b""


def images_of(call: CallRow) -> list[str | None]:
    """Return where each image of a call's result is, None where it can be shown here."""
    return [None if _IMAGE.match(url) else url for url in map(str, json.loads(call.images or "[]"))]


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that was sent upstream; `name` is of its tool, or which call it answers."""

    role: str
    name: str
    text: str
    images: list[str]
    calls: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it was sent upstream."""

    messages: list[SentMessage]
    tools: list[tuple[str, str]]
    fields: list[tuple[str, str]]


def sent(request: str) -> Sent:
    """Return a request to the upstream in its parts."""
    body = json.loads(request)
    messages, tools = body.pop("messages", []), body.pop("tools", None) or []
    return Sent(
        [_message(message) for message in messages],
        [(str(tool.get("function", {}).get("name", "")), _written(tool)) for tool in tools],
        [(name, value if isinstance(value, str) else _written(value)) for name, value in sorted(body.items())],
    )


def _message(message: dict[str, Any] | str) -> SentMessage:
    # One of the client's that is not known any more is left by its digest.
    if isinstance(message, str):
        return SentMessage("user", "", f"({message})", [], [])
    content = message.get("content")
    parts: list[dict[str, Any]] = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    calls = [call.get("function", {}) for call in message.get("tool_calls") or ()]
    return SentMessage(
        role=str(message.get("role", "")),
        name=str(message.get("tool_call_id") or ""),
        text="\n".join(str(part["text"]) for part in parts if part.get("text")),
        images=[str(part["image_url"].get("url", "")) for part in parts if isinstance(part.get("image_url"), dict)],
        calls=[(str(call.get("name", "")), str(call.get("arguments", ""))) for call in calls],
    )
