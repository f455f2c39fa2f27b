"""The Autobahn suite as a test. ``python -m tests.autobahn`` tells more."""

from __future__ import annotations

import subprocess

import pytest
import trio

from tests.autobahn import suite


@pytest.fixture(scope="session")
def python() -> str:
    """The Python 2.7 that has the suite."""
    found = suite.find_python()
    if found is None:
        pytest.skip("the Autobahn suite needs a Python 2.7; none was found on the path or in pyenv")
    try:
        suite.install(found)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"the Autobahn suite could not be installed: {error}")
    return found


@pytest.mark.slow
async def test_the_autobahn_suite_passes(python: str) -> None:
    with trio.fail_after(110):
        cases = await suite.run(python)
    assert [case for case in cases if not case.passed] == []
    assert len(cases) > 250


@pytest.mark.slow
async def test_it_passes_over_http2_too(python: str) -> None:
    with trio.fail_after(110):
        cases = await suite.run(python, suite.QUICK_CASES, http2=True)
    assert [case for case in cases if not case.passed] == []
    assert len(cases) > 80
