"""What the bridge and the plugin say, which they say in English, in the language of who reads it.

The catalogue (`said.LANGUAGE.toml`) has it by sentences; what they fill in stands there as {1}, {2} and so on. A
sentence that it does not have, such as an upstream's own words, stays as it is.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

LONGEST = 3000
"""A longer text is somebody else's, and is not looked into."""
MOST_SENTENCES = 12
_DEEPEST = 4
WORDS = ("hops", "actors")
"""Groups of single words, which are such words only where they are looked for."""
_END = re.compile(r"(?<=[.!?…]) ")
_BETWEEN = re.compile(r"(?<=[\u4e00-\u9fff）”。：]) (?=[\u4e00-\u9fff（“])")
"""A space beside a gap that was filled with Chinese, which has none."""
GAP = re.compile(r"\{(\d+)\}")


@dataclass(frozen=True, slots=True)
class Said:
    """A text, and the language that it is in."""

    lang: str
    text: str


@lru_cache(4096)
def said(code: str, text: str) -> Said:
    """Return what the bridge says in the language `code`, as far as the catalogue has it."""
    if code == "en" or len(text) > LONGEST:
        return Said("en", text)
    translated = "\n".join(_sentences(code, line, 0) for line in text.split("\n"))
    return Said("en" if translated == text else code, translated)


def named_in(code: str, group: str, name: str) -> str:
    """Return what has a word of its own there, one of `WORDS`; else what the bridge says of it."""
    word = None if code == "en" else catalogue(code)[group].get(name)
    return said(code, name).text if word is None else word


@cache
def catalogue(code: str) -> Mapping[str, Mapping[str, str]]:
    """Read a language's catalogue, by its groups."""
    source = files(__package__).joinpath(f"said.{code}.toml").read_text(encoding="utf-8")
    return tomllib.loads(source)


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A sentence with gaps: the pieces between them, of which the first and last may be empty."""

    pieces: tuple[str, ...]
    gaps: tuple[str, ...]
    translation: str

    def fills(self, sentence: str) -> dict[str, str] | None:
        """Return what fills the gaps, None where the sentence is another one. It takes one pass."""
        first, *between, last = self.pieces
        if not (sentence.startswith(first) and sentence.endswith(last)) or len(sentence) <= len(first) + len(last):
            return None
        at, end, filled = len(first), len(sentence) - len(last), []
        for piece in between:
            found = sentence.find(piece, at, end)
            if found < 0:
                return None
            filled.append(sentence[at:found])
            at = found + len(piece)
        filled.append(sentence[at:end])
        return dict(zip(self.gaps, filled, strict=True))


@cache
def _known(code: str) -> tuple[Mapping[str, str], list[_Pattern]]:
    """Return the sentences without gaps, and those with, the most telling first."""
    entries = {
        text: other for group, texts in catalogue(code).items() if group not in WORDS for text, other in texts.items()
    }
    patterns = [
        _Pattern(tuple(GAP.split(text)[::2]), tuple(GAP.findall(text)), other)
        for text, other in entries.items()
        if GAP.search(text)
    ]
    patterns.sort(key=lambda pattern: -sum(map(len, pattern.pieces)))
    return entries, patterns


def _sentences(code: str, text: str, depth: int) -> str:
    parts = _END.split(text)
    if depth > _DEEPEST or len(parts) > MOST_SENTENCES:
        return text
    return "".join(_joined(list(_each(code, parts, depth))))


def _each(code: str, parts: list[str], depth: int) -> Iterator[str]:
    """Yield the sentences. What fills a gap may end like one, so that one that is not known may be part of a longer."""
    at = 0
    while at < len(parts):
        wholes = [(end, " ".join(parts[at:end])) for end in range(at + 1, len(parts) + 1)]
        told = ((end, _sentence(code, whole, depth)) for end, whole in wholes)
        at, found = next(((end, text) for end, text in told if text is not None), (at + 1, parts[at]))
        yield found


def _joined(sentences: list[str]) -> Iterator[str]:
    for number, sentence in enumerate(sentences):
        yield sentence
        if number + 1 < len(sentences) and sentence[-1:].isascii():
            yield " "


def _sentence(code: str, sentence: str, depth: int) -> str | None:
    told = _told(code, sentence.removesuffix("."), depth)
    return None if told is None else f"{told}{'。' if sentence.endswith('.') else ''}"


def _told(code: str, sentence: str, depth: int) -> str | None:
    texts, patterns = _known(code)
    for known in (sentence, sentence[:1].lower() + sentence[1:]):
        if known in texts:
            return texts[known]
    for pattern in patterns:
        if fills := pattern.fills(sentence):
            told = {gap: _sentences(code, text, depth + 1) for gap, text in fills.items()}
            return _BETWEEN.sub("", GAP.sub(lambda found, told=told: told[found[1]], pattern.translation))  # type: ignore[misc]
    # Several in one, or one after the name of what it is about.
    for between, other in (("; ", "；"), (": ", "：")):
        first, found, rest = sentence.partition(between)
        rest_told = _told(code, rest, depth + 1) if found and depth <= _DEEPEST else None
        if rest_told is not None:
            return f"{_told(code, first, depth + 1) or first}{other}{rest_told}"
    return None
