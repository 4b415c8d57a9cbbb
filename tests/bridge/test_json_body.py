"""What a request's body may hold."""

import gzip
import json
import zlib
from collections.abc import Callable

import pytest
from flask import Flask, request
from zstandard import ZstdCompressor

from bridge.api.bodies import MOST_MEMBERS, json_body
from bridge.api.reading import SHORT
from bridge.errors import InvalidRequest, TooLarge, UnsupportedEncoding
from tools.json_depth import DEEPEST

app = Flask("test")


def read(raw: bytes | str, limit: int = 1_000_000) -> dict[str, object]:
    with app.test_request_context(method="POST", data=raw):
        return json_body(request, limit)


def nested(levels: int) -> str:
    return '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)


def test_half_of_an_emoji_becomes_the_character_for_what_cannot_be_shown() -> None:
    body = read(json.dumps({"a\ud83d": ["cut \ud83d", {"b": "\udc00 \U0001f600"}], "n": 1}))
    assert body == {"a�": ["cut �", {"b": "� \U0001f600"}], "n": 1}
    json.dumps(body, ensure_ascii=False).encode()


def test_capital_escapes_count_too() -> None:
    assert read('{"a": "\\uD83D", "b": "\\uD83D\\uDE00"}') == {"a": "�", "b": "\U0001f600"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("is_escape", [True, False])
def test_so_does_half_of_one_in_every_encoding_of_json(encoding: str, is_escape: bool) -> None:
    for padding in ("", "x" * SHORT):
        text = json.dumps({"a": "cut \ud83d", "b": [{"c": "\udc00"}, padding]}, ensure_ascii=is_escape)
        assert read(text.encode(encoding, "surrogatepass")) == {"a": "cut �", "b": [{"c": "�"}, padding]}


def test_a_body_may_be_deep_but_not_deeper_than_everyone_can_write_it() -> None:
    assert read(nested(DEEPEST))
    with pytest.raises(InvalidRequest, match="deeper than 100"):
        read(nested(DEEPEST + 1))
    with pytest.raises(InvalidRequest, match="deeper than 100"):
        read(nested(100_000))


@pytest.mark.parametrize(
    ("raw", "told"),
    [(b'{"a": ' + b"9" * 5000 + b"}", "a number has too many digits"), (b'{"a": "\xff"}', "it is not utf-8")],
)
def test_what_is_wrong_is_not_said_in_words_of_the_language_that_reads_it(raw: bytes, told: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^the body is not valid JSON: {told}"):
        read(raw)


def test_a_long_body_may_be_no_deeper() -> None:
    for levels, padding in ((DEEPEST - 2, "x" * SHORT), (DEEPEST - 1, "x" * SHORT)) * 2:
        raw = f'{{"messages": [{nested(levels)}, {{}}], "long": "{padding}"}}'
        if levels == DEEPEST - 2:
            assert read(raw)
        else:
            with pytest.raises(InvalidRequest, match="deeper than 100"):
                read(raw)


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b'"x"', b'{"a": "\xff"}', b"\xff\xfe{"])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(raw)


def test_a_body_over_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge):
        read('{"a": "bcd"}', limit=8)


PACKERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": ZstdCompressor().compress,
    "GZIP, zstd": lambda raw: ZstdCompressor().compress(gzip.compress(raw)),
    "identity": lambda raw: raw,
}


def packed(raw: bytes, encoding: str, limit: int = 1_000_000) -> dict[str, object]:
    with app.test_request_context(method="POST", data=raw, headers={"Content-Encoding": encoding}):
        return json_body(request, limit)


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_packed_body_is_read_within_the_limit(encoding: str) -> None:
    raw = json.dumps({"a": "x" * 50_000, "b": list(range(5000))}).encode()
    assert packed(PACKERS[encoding](raw), encoding) == json.loads(raw)
    with pytest.raises(TooLarge):
        packed(PACKERS[encoding](raw), encoding, limit=40_000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_body_that_is_not_what_its_encoding_says_is_refused(encoding: str) -> None:
    raw = PACKERS[encoding](b'{"a": "' + bytes(range(48, 90)) * 40 + b'"}')
    for broken in (raw[: len(raw) // 2], raw[:-1], b'{"a": 1}'):
        with pytest.raises(InvalidRequest, match=f"its Content-Encoding {encoding}"):
            packed(broken, encoding)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", ZstdCompressor().compress)])
def test_a_body_may_be_put_together_of_many_but_not_of_any_number(
    encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    some = pack(b'{"a": 1') + pack(b"}") + pack(b" ") * (MOST_MEMBERS - 2)
    assert packed(some, encoding) == {"a": 1}
    with pytest.raises(TooLarge, match="compressed parts"):
        packed(some + pack(b" ") * 30_000, encoding)


def test_a_small_body_may_not_become_a_huge_one() -> None:
    for packer, encoding in ((gzip.compress, "gzip"), (ZstdCompressor().compress, "zstd")):
        with pytest.raises(TooLarge):
            packed(packer(bytes(200_000_000)), encoding)


def test_an_unknown_encoding_is_refused_by_its_name() -> None:
    with pytest.raises(UnsupportedEncoding, match="br is not supported") as refused:
        packed(b"x", "br")
    assert refused.value.status == 415
