"""The page's texts, each language in a file of its own."""

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from flask import Request

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

    def said(self, text: str) -> "Said":
        """Return why something went as it did: in this language where the bridge gives that reason, else as it is."""
        if self.code != "en":
            for name, pattern in _reasons():
                if found := pattern.fullmatch(text):
                    return Said(self.code, self(name, **found.groupdict()))
        return Said("en", text)


@dataclass(frozen=True, slots=True)
class Said:
    """A text, and the language that it is in."""

    lang: str
    text: str


@cache
def _reasons() -> list[tuple[str, re.Pattern[str]]]:
    """Return the reasons that the bridge gives, as they are stored: in English."""
    english = texts("en").texts
    reasons = [(name, re.split(r"\{(\w+)\}", text)) for name, text in english.items() if name.startswith("said.")]
    return [
        (name, re.compile("".join(f"(?P<{part}>.+)" if n % 2 else re.escape(part) for n, part in enumerate(parts))))
        for name, parts in reasons
    ]


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
