"""Random schedules of kills and astray requests keep the promises; `python -m tests.schedules` plays thousands."""

import os
from collections.abc import Iterator

import pytest

from tests.long import SEED
from tests.schedules.parts import Parts
from tests.schedules.plan import draw
from tests.schedules.play import play

SCHEDULES = 3
FIRST = int(os.environ.get("SCHEDULES_SEED") or SEED)


@pytest.fixture(scope="module", params=["one bridge", pytest.param("two bridges", marks=pytest.mark.servers)])
def parts(request: pytest.FixtureRequest) -> Iterator[Parts]:
    with Parts(shared=request.param == "two bridges") as parts:
        yield parts


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(SCHEDULES))
def test_a_random_schedule_keeps_every_promise(number: int, parts: Parts) -> None:
    outcome = play(parts, draw(FIRST + number, shared=parts.shared), number)
    breaches = "\n".join(outcome.breaches)
    assert not breaches, f"SCHEDULES_SEED={FIRST + number} plays it again:\n{outcome.schedule}\n{breaches}"
