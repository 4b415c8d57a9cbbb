"""What others rely on by name stays, or is changed on purpose: in public_names.txt and CHANGELOG.md."""

from collections.abc import Iterator

import pytest

from bridge.dify.errors import DifyError
from bridge.errors import BridgeError
from tests.public_names import FILE, SECTIONS, read

HELD = read(FILE.read_text(encoding="utf-8"))


def test_the_file_has_every_kind_of_name() -> None:
    assert list(HELD) == list(SECTIONS)


@pytest.mark.parametrize("kind", SECTIONS)
def test_no_name_has_changed_unseen(kind: str) -> None:
    now, held = set(SECTIONS[kind]()), HELD[kind]
    assert now, f"nothing was found of {kind}"
    assert (sorted(held - now), sorted(now - held)) == ([], []), (
        "gone, and new; if both are meant, `.venv/bin/python -m tests.public_names` writes the file again"
    )


def kinds(base: type[DifyError | BridgeError]) -> Iterator[type[DifyError | BridgeError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_an_error_of_dify_s_has_a_code_of_its_own_that_no_class_name_makes() -> None:
    codes = [vars(kind).get("code") for kind in (DifyError, *kinds(DifyError)) if not kind.__name__.startswith("_")]
    assert all(codes)
    assert len(codes) == len(set(codes))
