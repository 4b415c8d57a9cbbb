"""What the bridge and the plugin say is told in the reader's language: doctor's lines, errors, reasons."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bridge.cli import main
from bridge.config import ConfigError
from bridge.dify.errors import DifyError
from bridge.dify.tools import ToolsProblem
from bridge.errors import BridgeError
from bridge.server.said import GAP, WORDS, Said, catalogue, said
from bridge.store.place import StoreError
from provider.errors import ProviderError
from tests.page.conftest import Person

ROOT = Path(__file__).resolve().parent.parent.parent
DOCTOR = ROOT / "bridge" / "commands" / "doctor"
ROOMS = ("bridge/page", "bridge/runs", "bridge/dify", "bridge/store", "provider")
FILES = ("bridge/config.py", "bridge/api/operator.py", "bridge/api/plugin.py")
NO_WORDS = {"_QUESTION", "_TOOL", "_TOKEN", "_NO_CREDENTIALS", "_NO_FORM", "_NO_WAY"}
"""What doctor asks a model, and what it looks for in others' words."""

CATALOGUE = catalogue("zh-Hans")
TEXTS = {text: told for group, texts in CATALOGUE.items() if group not in WORDS for text, told in texts.items()}
KNOWN = {*TEXTS, *CATALOGUE["hops"]}


def test_every_sentence_of_doctor_is_in_the_catalogue() -> None:
    sentences = {sentence for path in DOCTOR.glob("*.py") for sentence in _of_doctor(path)}
    assert len(sentences) > 90
    assert sorted(sentences - KNOWN) == []


def test_every_error_is_in_the_catalogue() -> None:
    kinds = {kind.__name__ for base in (BridgeError, DifyError, ProviderError) for kind in (base, *_below(base))}
    kinds |= {StoreError.__name__, ConfigError.__name__, "unavailable", "with_advice", ToolsProblem.__name__}
    sentences = {sentence for path in _sources() for sentence in _of_errors(path, kinds)}
    assert len(sentences) > 150
    assert sorted(sentences - KNOWN) == []


def test_the_catalogue_has_nothing_that_nobody_says() -> None:
    source = "".join(
        path.read_text(encoding="utf-8") for room in ("bridge", "provider") for path in ROOT.glob(f"{room}/**/*.py")
    )
    source = re.sub(r"[\"']\s*\n\s*f?[\"']", "", source).replace('\\"', '"').replace("{{", "{").replace("}}", "}")
    for text in TEXTS:
        for piece in re.split(r"\{\d+\}", text.replace("{{", "{").replace("}}", "}")):
            assert piece in source, text


def test_what_is_filled_in_is_in_both() -> None:
    for text, told in TEXTS.items():
        assert sorted(GAP.findall(text)) == sorted(GAP.findall(told)), text


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("cancelled by operator ann", "由操作员 ann 取消"),
        (
            "The upstream answered 429: slow down. Check upstream_api_key",
            "模型服务返回 429：slow down。请检查 upstream_api_key",
        ),
        (
            "its api is 'x' instead of 'openai-completions'; it has no model m",
            "其 api 是 'x'，应为 'openai-completions'；其中没有模型 m",
        ),
        (
            "/c.toml: unknown key prot, did you mean port (line 3)",
            "/c.toml：未知的配置项 prot，是否应为 port（第 3 行）",
        ),
        ("Switch it on in Dify, under Plugins, Clawback Tools", "在 Dify 的“插件 → Clawback Tools”中启用它"),
        ("Dify is odd today. Start a new conversation.", "Dify is odd today. 请开始新的对话。"),
    ],
)
def test_what_is_known_of_a_text_is_told(english: str, chinese: str) -> None:
    assert said("zh-Hans", english) == Said("zh-Hans", chinese)
    assert said("en", english) == Said("en", english)


@pytest.mark.parametrize("text", ["something else", "", "a. " * 400 + ": " * 400, "; : " * 500, "x" * 10_000])
def test_what_is_not_known_stays_as_it_is(text: str) -> None:
    assert said("zh-Hans", text) == Said("en", text)


@pytest.mark.parametrize(("arguments", "spoken"), [(("--lang", "zh-Hans"), "C"), ((), "zh_CN.UTF-8")])
def test_doctor_speaks_the_terminals_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], spoken: str
) -> None:
    monkeypatch.setenv("LC_ALL", spoken)
    path = tmp_path / "clawback.toml"
    told = CliRunner().invoke(main, ["doctor", "--config", str(path), *arguments]).output
    assert re.search(f"✗ 配置 +{re.escape(str(path))} 处没有配置。请运行 `clawback init`", told)
    assert "→ 运行：clawback init\n" in told


def test_an_error_page_is_in_the_readers_language(ann: Person) -> None:
    page = ann.get("/runs/none", **{"Accept-Language": "zh"}).text
    assert '<p class="notice bad" lang="zh-Hans">没有运行 none；已结束的运行只保留 limits.keep_days 天</p>' in page


def _sources() -> Iterator[Path]:
    for room in ROOMS:
        yield from (ROOT / room).rglob("*.py")
    for name in FILES:
        yield ROOT / name


def _below(kind: type[Exception]) -> Iterator[type[Exception]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def _of_doctor(path: Path) -> Iterator[str]:
    """Yield the sentences in all texts of two words and more."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Expr):
            continue
        assigned = {target.id for target in getattr(statement, "targets", ()) if isinstance(target, ast.Name)}
        if assigned & NO_WORDS:
            continue
        if isinstance(statement, ast.FunctionDef):
            statement.decorator_list = []
        for text in _texts(statement):
            yield from _sentences(text)


def _texts(node: ast.AST) -> Iterator[str]:
    """Yield the texts in a piece of code that are no docstrings."""
    text = _text(node)
    if text is not None:
        yield text
        return
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            yield from _texts(child)


def _of_errors(path: Path, kinds: set[str]) -> Iterator[str]:
    """Yield the sentences that errors are made with, and the advice that a kind of them has."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        target.id: _text(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds:
            for argument in node.args[: 2 if node.func.id in {"with_advice", "ToolsProblem"} else 1]:
                named = constants.get(argument.id) if isinstance(argument, ast.Name) else None
                yield from _sentences(named or _text(argument) or "")
        elif isinstance(node, ast.ClassDef) and node.name in kinds:
            for statement in node.body:
                if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "advice":
                    yield from _sentences(_text(statement.value) or "")


def _text(node: ast.AST) -> str | None:
    """Return a text as it stands in the code, with a NUL for each thing that is filled in."""
    match node:
        case ast.Constant(value=str(text)):
            return re.sub(r"(?<!\{)\{\w+\}", "\0", text)
        case ast.JoinedStr(values=values):
            return "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return f"{_text(left) or '\0'}{_text(right) or '\0'}"
    return None


def _sentences(text: str) -> Iterator[str]:
    # What follows a sentence, or what a part of one follows, is filled in.
    text = re.sub(r"^,", "\0,", re.sub(r"\.\0", ".", re.sub("\0+", "\0", text)))
    for sentence in re.split(r"(?<=[.!?]) (?=\S)|(?<=\0) (?=[A-Z])", text):
        if len(re.findall(r"[A-Za-z]{2,}", sentence)) > 1 and " " in sentence:
            numbers = iter(range(1, 100))
            yield re.sub("\0", lambda _, numbers=numbers: f"{{{next(numbers)}}}", sentence.strip().removesuffix("."))  # type: ignore[misc]
