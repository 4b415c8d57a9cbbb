"""How far a text that is still being written can become a JSON object.

Arguments are passed on while a model writes them, and what was passed on cannot be taken back: so it must be the
beginning of arguments that are sound. Source: RFC 8259.
"""

import re

_SPACE = " \t\n\r"
_LITERAL_END = re.compile(r"[ \t\n\r,\]}]")
_LITERAL = re.compile(r"true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_LITERAL_BEGINNING = re.compile(
    r"t|tr|tru|true|f|fa|fal|fals|false|n|nu|nul|null|-|-?(0|[1-9]\d*)(\.\d*|(\.\d+)?[eE][+-]?\d*)?"
)
_ESCAPED = frozenset('"\\/bfnrt')
_HEX = frozenset("0123456789abcdefABCDEF")

_OBLIGED = frozenset({"key or end", "key", "key string", "colon", "value", "value or end"})


class JsonObjectPrefix:
    """Reads an object as it is written. `length` is how many characters may be passed on.

    White space before and after the object, a number or word that is not known to have ended, a quote that may not be
    the end of its string (models forget to escape them), and what obliges to a value that has not begun soundly (a
    comma, a name) are not counted.
    """

    def __init__(self) -> None:
        self.length = 0
        self.sound = True
        self._position = 0
        self._open: list[str] = []
        self._expects = "object"
        self._literal = ""
        self._escape = ""
        self._quoted = False

    @property
    def complete(self) -> bool:
        """Whether the object has ended."""
        return self.sound and self._expects == "nothing"

    def feed(self, text: str) -> None:
        """Take what was written next."""
        for character in text:
            if not self.sound:
                return
            self._position += 1
            self.sound = self._take(character)
            if not self.sound or self._literal or self._expects == "object":
                continue
            if self._counts(character):
                self.length = self._position
            elif character == "," and self._expects in {"key", "value"}:
                self.length = self._position - 1

    def _counts(self, character: str) -> bool:
        if self._quoted or self._expects in _OBLIGED:
            return False
        return not (self._expects == "nothing" and character in _SPACE)

    def _take(self, character: str) -> bool:
        if self._expects in {"string", "key string"}:
            return self._in_string(character)
        if self._literal:
            if not _LITERAL_END.match(character):
                self._literal += character
                return _LITERAL_BEGINNING.fullmatch(self._literal) is not None
            if not _LITERAL.fullmatch(self._literal):
                return False
            self._literal = ""
            self._expects = "comma"
        if character in _SPACE:
            return True
        self._quoted = False
        return self._between(character)

    def _in_string(self, character: str) -> bool:
        if self._escape:
            return self._escaped(character)
        if character == "\\":
            self._escape = character
        elif character == '"':
            self._quoted = True
            self._expects = "colon" if self._expects == "key string" else "comma"
        return character >= " "

    def _escaped(self, character: str) -> bool:
        if self._escape == "\\":
            self._escape = "\\u" if character == "u" else ""
            return character == "u" or character in _ESCAPED
        self._escape = self._escape + character if len(self._escape) < 5 else ""
        return character in _HEX

    def _between(self, character: str) -> bool:
        match self._expects, character:
            case ("object", "{") | ("value" | "value or end", "{"):
                return self._opens("}", "key or end")
            case ("value" | "value or end", "["):
                return self._opens("]", "value or end")
            case ("value" | "value or end", '"'):
                self._expects = "string"
            case ("value" | "value or end", _) if character != "]" and _LITERAL_BEGINNING.fullmatch(character):
                self._literal = character
            case ("key" | "key or end", '"'):
                self._expects = "key string"
            case ("colon", ":"):
                self._expects = "value"
            case ("comma", ","):
                self._expects = "key" if self._open[-1] == "}" else "value"
            case ("key or end" | "value or end" | "comma", "}" | "]"):
                return self._closes(character)
            case _:
                return False
        return True

    def _opens(self, closer: str, expects: str) -> bool:
        self._open.append(closer)
        self._expects = expects
        return True

    def _closes(self, character: str) -> bool:
        if self._open.pop() != character:
            return False
        self._expects = "comma" if self._open else "nothing"
        return True
