"""What a request's body may hold."""

import gzip
import json
import zlib

import pytest
from flask import Flask, request
from zstandard import ZstdCompressor

from bridge.api.bodies import SHORT, json_body
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


def test_a_body_may_be_deep_but_not_deeper_than_everyone_can_write_it() -> None:
    assert read(nested(DEEPEST))
    with pytest.raises(InvalidRequest, match="deeper than 100"):
        read(nested(DEEPEST + 1))
    with pytest.raises(InvalidRequest):
        read(nested(100_000))


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


def test_a_small_body_may_not_become_a_huge_one() -> None:
    for packer, encoding in ((gzip.compress, "gzip"), (ZstdCompressor().compress, "zstd")):
        with pytest.raises(TooLarge):
            packed(packer(bytes(200_000_000)), encoding)


def test_an_unknown_encoding_is_refused_by_its_name() -> None:
    with pytest.raises(UnsupportedEncoding, match="br is not supported") as refused:
        packed(b"x", "br")
    assert refused.value.status == 415
