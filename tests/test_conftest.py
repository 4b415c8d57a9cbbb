from pathlib import Path

import pytest

from tests.levels import LEVELS, starts

pytest_plugins = ["pytester"]


@pytest.fixture
@starts("parts")
def without_openclaw(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())
    pytester.makeini("\n".join(["[pytest]", "markers =", *(f"  {each}: as ever" for each in ("openclaw", *LEVELS))]))
    pytester.makepyfile("import pytest\n@pytest.mark.openclaw\ndef test_it(): pass\ndef test_other(): pass")
    return pytester


def test_what_needs_openclaw_is_skipped_without_it_and_says_how_to_get_it(
    without_openclaw: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    result = without_openclaw.runpytest_subprocess("-rs", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines("*scripts/setup*")


def test_what_needs_openclaw_fails_without_it_in_ci(
    without_openclaw: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    result = without_openclaw.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines("*scripts/setup*")
