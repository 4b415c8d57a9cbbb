"""A call that is made again with the same result is a repetition; one that learns something is not."""

import pytest

from bridge.runs.tickets.admission import Made, repetitions


@pytest.mark.parametrize(
    ("earlier", "count"),
    [
        ([], 0),
        ([("{}", "a")], 1),
        ([("{}", "a"), ("{}", "a")], 2),
        ([("{}", "a"), ("{}", "b")], 1),
        ([("{}", "b"), ("{}", "a"), ("{}", "a")], 2),
        ([("{}", "a"), ('{"x": 1}', "b"), ("{}", "a")], 2),
        ([("{}", "a"), ("{}", None)], 0),
        ([('{"x": 1}', "a")], 0),
    ],
)
def test_the_same_call_with_the_same_result_counts(earlier: list[tuple[str, str | None]], count: int) -> None:
    assert repetitions([Made(*made) for made in earlier], "{ }") == count


def test_the_order_of_keys_does_not_matter() -> None:
    assert repetitions([Made('{"a":1,"b":2}', "x")], '{"b": 2, "a": 1}') == 1
    assert repetitions([Made("broken", "x")], "broken") == 1
