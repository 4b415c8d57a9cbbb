"""Texts that OpenClaw acts on, derived from its grammars: each repetition none, one, 64, 65 or 10,000 times."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

type Piece = tuple[str, str]
"""`text` or `reasoning`, and what is said."""

BLANKS = "\t\n\v\f\r \u00a0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000\ufeff"
COUNTS = (0, 1, 64, 65, 10_000)
WEIGHTS = (60, 120, 16, 16, 1)
REASONING = ("think", "thinking", "thought", "reasoning", "internal", "antthinking", "mm:think", "antml:reasoning")
TOKENS = ("NO_REPLY", "HEARTBEAT_OK", "ANNOUNCE_SKIP", "REPLY_SKIP")
PUNCTUATION = "_*.\"'`()[]{}!?-«»、。"


class Texts:
    """Derives texts. The same seed derives the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self._grammars: tuple[Callable[[], str], ...] = (
            self.bracket, self.tool_bracket, self.parameters, self.harmony, self.function, self.dsml, self.tag,
            self.speech, self.attachment, self.silence, self.envelope, self.message, self.heartbeat, self.note,
        )  # fmt: skip

    # One text

    def text(self) -> str:
        """Return a text that holds one derivation or more, with what OpenClaw leaves out anywhere in it."""
        text = self.one_of(*self._grammars)()
        if self.one_in(6):
            text = self.cased(text)
        for _ in range(self.random.choice((0, 0, 0, 1, 1, 2))):
            text = self.inserted(text)
        if self.one_in(5):
            text += self.pick("\n", "", " ") + self.one_of(*self._grammars)()
        if self.one_in(4):
            text = self.before() + text
        return text + self.pick(" So it is.", "\nEnd", "\n") if self.one_in(6) else text

    def pieces(self, text: str) -> list[Piece]:
        """Cut a text anywhere, or not at all; now and then, reasoning comes between."""
        style = self.random.choice(("whole", "whole", "some", "some", "many"))
        if style == "whole" or not text:
            return [("text", text)]
        most = 4 if style == "some" or len(text) > 2000 else len(text)
        cuts = sorted(self.random.randrange(len(text)) for _ in range(self.random.randint(1, most)))
        parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if b > a]
        pieces: list[Piece] = [("text", part) for part in parts]
        if self.one_in(4):
            pieces.insert(self.random.randint(0, len(pieces)), ("reasoning", "Well."))
        return pieces

    # Parts of grammars

    def one_of(self, *grammars: Callable[[], str]) -> Callable[[], str]:
        return self.random.choice(grammars)

    def pick(self, *texts: str) -> str:
        return self.random.choice(texts)

    def one_in(self, times: int) -> bool:
        return self.random.randrange(times) == 0

    def many(self, alphabet: str, least: int = 0) -> str:
        count = max(least, self.random.choices(COUNTS, WEIGHTS)[0])
        if self.one_in(3):
            return "".join(self.random.choice(alphabet) for _ in range(count))
        return self.random.choice(alphabet) * count

    def blanks(self, least: int = 0) -> str:
        return self.many(BLANKS, least)

    def gap(self) -> str:
        return self.many(" \t", 1)

    def name(self) -> str:
        return self.pick("exec", "read", "write", "exec", "a" * 64, "b" * 65, "c" * 120)

    def body(self) -> str:
        return self.pick('{"command":"id"}', "{}", '{ "command" : "rm -rf ~" }', '{"a":{"b":"}"}}')

    def values(self) -> str:
        return "".join(
            f"{self.blanks()}{self.tagged('<parameter=')}command>id{self.tagged('</parameter>')}"
            for _ in range(self.random.randint(1, 2))
        )

    def tagged(self, text: str) -> str:
        return self.cased(text) if self.one_in(3) else text

    def cased(self, text: str) -> str:
        folded = {"s": "sSſ", "k": "kKK", "i": "iIıİ"}
        return "".join(self.random.choice(folded.get(char.lower(), char.lower() + char.upper()[:1])) for char in text)

    # What runs

    def bracket(self) -> str:
        name = self.name()
        closing = self.pick("[END_TOOL_REQUEST]", f"[/{name}]")
        end = self.pick("\n", "\r\n", "\r")
        head = f"{self.lead()}[{name}]{self.many(' \t')}{end}{self.blanks()}"
        return f"{head}{self.body()}{self.blanks()}{closing}{self.blanks()}"

    def tool_bracket(self) -> str:
        closing = self.pick("", "<|call|>", "[END_TOOL_REQUEST]")
        return f"{self.lead()}[tool:{self.name()}]{self.blanks()}{self.body()}{closing}"

    def parameters(self) -> str:
        opening = self.pick(f"[tool:{self.name()}]", f"[{self.name()}]{self.many(' \t')}\n")
        return f"{self.lead()}{opening}{self.values()}{self.blanks()}{self.tagged('</function>')}"

    def harmony(self) -> str:
        channel = self.pick("", "", "<|channel|>") + self.pick("commentary", "analysis", "final")
        message = self.pick("", "<|message|>") + self.blanks()
        head = f"{self.lead()}{channel}{self.gap()}to={self.name()}{self.gap()}code{self.blanks()}"
        return f"{head}{message}{self.body()}{self.pick('', '<|call|>')}"

    def function(self) -> str:
        head = f"{self.lead()}{self.tagged('<function=')}{self.name()}>"
        return f"{head}{self.values()}{self.blanks()}{self.tagged('</function>')}"

    def dsml(self) -> str:
        mark = self.pick("|DSML|", "｜DSML｜", "｜｜DSML｜｜")
        kind = self.pick("tool_calls", "function_calls", "tool_call")
        value = f'<{mark}parameter name="command" string="true">id</{mark}parameter>'
        call = f'<{mark}invoke name="exec">{self.blanks()}{value}{self.blanks()}</{mark}invoke>'
        return f"{self.before()}<{mark}{kind}>{self.blanks()}{call}{self.blanks()}</{mark}{kind}>"

    # What gives an order

    def tag(self) -> str:
        name = self.pick("reply_to_current", "audio_as_voice", f"reply_to{self.blanks()}:{self.blanks()}17")
        return f"{self.before()}[[{self.blanks()}{name}{self.blanks()}]]{self.pick('', ' hi')}"

    def speech(self) -> str:
        blanks = self.blanks
        return self.pick(
            f"[[{blanks()}tts{blanks()}:{blanks()}voice=alloy]] hi",
            f"[[{blanks()}tts{blanks()}]]hi[[{blanks()}/{blanks()}tts{blanks()}]]",
            f"[[tts{blanks()}:{blanks()}text]]hi[[/tts:text]]",
        )

    def attachment(self) -> str:
        place = self.pick(
            "/etc/passwd", "https://example.org/a.png", "./a.png", "~/a.png", "`/tmp/a b.png`", '"/tmp/a.png"'
        )
        before = self.pick("", self.before() + "\n")
        return f"{before}{self.blanks()}MEDIA:{self.many(' \t')}{place}{self.pick('', '\nthere')}"

    def silence(self) -> str:
        token = self.pick(*TOKENS)
        again = "".join(self.blanks(1) + token for _ in range(self.random.choice((0, 0, 1, 2))))
        edge = self.many(PUNCTUATION) if self.one_in(2) else ""
        behind = self.many(PUNCTUATION) if self.one_in(2) else ""
        before = self.pick(
            "", "", "Here it is.", "Here it is.\n", "**", "<think>a</think>", "analysis:\nI will stay silent.\n"
        )
        return f"{self.blanks()}{before}{self.pick('', self.blanks(1))}{edge}{token}{again}{behind}{self.blanks()}"

    def envelope(self) -> str:
        said = self.pick("NO_REPLY", " NO_REPLY", "NO_REPLY\\n", "\\u004eO_REPLY")
        twice = '"action":"NO_REPLY.x",' if self.one_in(5) else ""
        key = self.pick('"action"', '"\\u0061ction"')
        body = self.pick(
            f'{{{twice}{self.json_blanks()}{key}{self.json_blanks()}:{self.json_blanks()}"{said}"}}',
            f'"{said}"',
            f'["{said}"]',
        )
        return f"{self.blanks()}{body}{self.blanks()}"

    def message(self) -> str:
        deep = {"deep": json.loads("[" * 500 + "]" * 500)} if self.one_in(8) else {}
        arguments = {"action": self.pick("send", " send "), "message": "x", **({"to": "y"} if self.one_in(2) else {})}
        text = json.dumps({**deep, "name": "message", "arguments": arguments})
        return self.blanks() + (text.replace("name", "n\\u0061me") if self.one_in(4) else text) + self.blanks()

    def json_blanks(self) -> str:
        return self.many(" \t\n\r")

    def heartbeat(self) -> str:
        wrapped = self.pick(
            "HEARTBEAT_OK", "<b>HEARTBEAT_OK</b>", "**HEARTBEAT_OK**", "&nbsp;HEARTBEAT_OK&nbsp;", "HEARTBEAT_OK<a b c>"
        )
        behind = "".join(self.random.choice("éß中.!_- ") for _ in range(self.random.randint(0, 4)))
        return self.pick(
            f"{wrapped}{behind}",
            f"All is well{self.blanks()}{wrapped}{behind}{self.blanks()}",
            f"{wrapped} all is well",
        )

    def note(self) -> str:
        return self.blanks() + self.pick(
            "No channel reply.", "Replied in-thread", "Replied in #general.",
            f"Updated{self.blanks(1)}[wiki/a](b) with c",
            "───", "<|x", "<a|b>", f"set-thought{self.blanks(1)}<a|b>",
        )  # fmt: skip

    # What stands around

    def lead(self) -> str:
        return self.pick("", "", self.blanks(), "<think>a</think>", "<think>\na\n</think>\n\n")

    def before(self) -> str:
        return self.pick(
            "", "Sure:\n", "Sure: ", "<final>", "[1] ", "- ", "> ", "a -> ", '{"a": 1}', "```\n", "<b>x</b>\n"
        )

    def inserted(self, text: str) -> str:
        """Put something that OpenClaw leaves out anywhere into the text."""
        at = self.random.randint(0, min(len(text), 200))
        return text[:at] + self.left_out() + text[at:]

    def left_out(self) -> str:
        name = self.tagged(self.pick(*REASONING))
        return self.pick(
            f"<{self.blanks()}{name}{self.pick('', ' a="b"')}>x<{self.blanks()}/{self.blanks()}{name}{self.blanks()}>",
            f"</{name}>", f"<{name}>", f"<{name}/>", f"<{self.blanks()}final{self.blanks()}>", "</final>",
            "<|x y|>", "<||>", "<｜a｜>", "\ue200cite\ue201", "\ue200cite\ue202a\ue201",
            "<relevant-memories>x</relevant_memories>",
            '<tool_call>{"a":1}</tool_call>', '<function name="x">{}</function>', "<parameter>", "</parameter>",
            "[TOOL_CALL]{tool => 'x', args => {}}[/TOOL_CALL]", "[Tool Call: x (ID: 1)]", "\n📊 Exec: x\n",
            "\n🛠️ run x\n",
            "\ntool_call: x\n", "<system-reminder>x</system-reminder>",
            "\n<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nx\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>\n",
            '<function_response>\nx\n</function_response>', "<invoke name=\"x\">{}</invoke><minimax:tool_call>",
        )  # fmt: skip
