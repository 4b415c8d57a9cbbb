"""Tags in a spelling of their own, such as `<|open|>call tool="f"<|sep|>`: a call is read as a tree of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape
from typing import Any

from tools.openclaw_text import formats
from tools.openclaw_text.patterns import whole
from tools.openclaw_text.schema import Schema
from tools.openclaw_text.tag_text import BadTagsError

DEPTH_CAP = 32
BARE_CAP = 300
_WORD = r"(?P<word>[^\s<>|:/\]]{1,120})(?P<attributes>(?:\s[^<>|]{0,200})?)"
_ATTRIBUTE = re.compile(r"([\w-]{1,40})\s{0,4}=\s{0,4}[\"']([^\"']*)[\"']")
#: Tags that stand alone.
_ALONE = ("tool_sep",)


@dataclass(frozen=True, slots=True)
class Spelling:
    """The tags of one spelling: an opening one, and any."""

    opening: re.Pattern[str]
    any: re.Pattern[str]
    divider: str
    #: Whether a closing tag may have lost its mark. What follows tells, within `BARE_CAP` characters.
    bare: bool

    @classmethod
    def of(cls, spelling: formats.Spelling) -> Spelling:
        """Compile what the table says."""
        opening, closing = (
            f"{whole(before)}{_WORD}{whole(behind)}" for before, behind in (spelling.opening, spelling.closing)
        )
        closing = closing.replace("<word>", "<closed>").replace("<attributes>", "<rest>")
        mark = whole(spelling.closing[0]).removesuffix("</")
        bare = rf"</(?P<bare>[^\s<>/]{{1,120}})>(?=\s{{0,8}}(?:{mark}(?!</(?P=bare)>)|\Z))"
        bare = bare if spelling.bare else "(?!)(?P<bare>)"
        return cls(re.compile(opening), re.compile(f"{closing}|{opening}|{bare}"), spelling.divider, spelling.bare)

    def end_of(self, opening: re.Match[str]) -> re.Pattern[str]:
        """What ends the call that begins with this tag: its own closing tag, with the same suffix if it has one."""
        for before, after in formats.ENDINGS:
            if before in opening.group():
                written = opening.group().replace(opening["attributes"], "").replace(before, after, 1)
                return re.compile(re.escape(written), re.IGNORECASE)
        raise BadTagsError("a tag has no end")


SPELLINGS = tuple(Spelling.of(spelling) for spelling in formats.SPELLINGS)
#: An opening tag in any spelling.
OPENING = re.compile("|".join(re.sub(r"\?P<\w+>", "", spelling.opening.pattern) for spelling in SPELLINGS))


def told(tag: str) -> tuple[Spelling, re.Match[str]]:
    """The spelling of an opening tag, and its parts."""
    return next((spelling, match) for spelling in SPELLINGS if (match := spelling.opening.fullmatch(tag)))


def attributes(tag: re.Match[str]) -> dict[str, str]:
    """The attributes of an opening tag."""
    return {key: unescape(value) for key, value in _ATTRIBUTE.findall(tag["attributes"])}


@dataclass(slots=True)
class Node:
    """An element: its word, its attributes, where its content is in the source, and the elements inside."""

    word: str
    attributes: dict[str, str]
    start: int
    end: int
    inside: list[Node] = field(default_factory=list)


class Tree:
    """What stands between a call's tags. `cut_off` says that it ends inside a value."""

    def __init__(self, source: str, spelling: Spelling, head: re.Match[str]) -> None:
        self.source = source
        self.spelling = spelling
        self.root = Node(head["word"], attributes(head), 0, len(source))
        opened = [self.root]
        for tag in spelling.any.finditer(source):
            if tag["word"] is None:
                words = [node.word for node in opened]
                word = tag["closed"] or tag["bare"]
                depth = len(words) - 1 - words[::-1].index(word) if word in words[1:] else len(words)
                for node in opened[depth:]:
                    node.end = tag.start()
                del opened[depth:]
                continue
            node = Node(tag["word"], attributes(tag), tag.end(), tag.end())
            opened[-1].inside.append(node)
            if node.word.lower() not in _ALONE and len(opened) < DEPTH_CAP:
                opened.append(node)
        self.cut_off = len(opened) > 1

    def text(self, node: Node) -> str:
        """What stands inside an element, its tags included."""
        return self.source[node.start : node.end]

    def name(self) -> str:
        """The name of the call: an attribute, an element, or the text before the first tag."""
        attributes = self.root.attributes
        named = (self.text(node) for node in self.root.inside if node.word.endswith("name"))
        return attributes.get("name") or attributes.get("tool") or next(named, "").strip() or self._before()

    def _before(self) -> str:
        tag = self.spelling.any.search(self.source)
        return (self.source[: tag.start()] if tag else self.source).strip()

    def json(self) -> str:
        """The arguments where they are one JSON object, else nothing."""
        for node in self.root.inside:
            text = self.text(node) if node.word.endswith(("arguments", "parameters", "json")) else ""
            if "{" in text:
                return text[text.index("{") :]
        last = self.source[self.root.inside[-1].end :].strip() if self.root.inside else ""
        return last if last.startswith("{") else ""

    def arguments(self, schema: Schema) -> dict[str, Any]:
        """The arguments as elements, typed by the schema."""
        found: dict[str, Any] = {}
        for name, node, kind, text in self._pairs():
            wanted = schema.of(name)
            plain = kind == "string" and "string" in (schema.types(wanted) or ["string"])
            found[name] = text if plain else self._value(node, schema, wanted, text)
        return found

    def _pairs(self) -> Iterator[tuple[str, Node, str | None, str]]:
        """The name, the element, the stated type and the text of each argument."""
        key, kind = "", None
        for node in self.root.inside:
            text, word, attributes = self.text(node), node.word.lower(), node.attributes
            name = attributes.get("key") or attributes.get("name")
            if name:
                string = {"true": "string"}.get(attributes.get("string", ""))
                yield name, node, attributes.get("type") or string, text
            elif self.spelling.divider and self.spelling.divider in text:
                name, _, value = text.partition(self.spelling.divider)
                yield name.strip(), node, None, value
            elif word.endswith("_key"):
                key, kind = text.strip(), None
            elif word.endswith("_type"):
                kind = text.strip()
            elif word.endswith("_value"):
                yield key, node, kind, text
            elif word not in _ALONE and not word.endswith(("_name", "arguments")):
                yield node.word, node, None, text

    def _value(self, node: Node, schema: Schema, wanted: Mapping[str, Any] | None, text: str) -> Any:
        types = schema.types(wanted)
        if not node.inside or "string" in types:
            return schema.read(text, wanted, loose=True)
        words = [child.word for child in node.inside]
        listed = "object" not in types and ("array" in types or set(words) == {"item"})
        inner = [schema.items(wanted) if listed else schema.below(wanted, word) for word in words]
        values = [
            self._value(child, schema, one, self.text(child)) for child, one in zip(node.inside, inner, strict=True)
        ]
        return values if listed else dict(zip(words, values, strict=True))
