"""The pages' msgpack codec against Python's: every value goes through unchanged, and any bytes end well."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disco.web.pages import FOLDER
from tests.dashboard.conftest import HERE

Echo: TypeAlias = Callable[[bytes], str]

TEXT = st.text(st.characters(codec="utf-8"), max_size=300)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**31), 2**32 - 1) | st.floats(allow_nan=False)
    | TEXT | st.binary(max_size=300)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=300))
)  # fmt: skip
#: JavaScript's objects reorder keys that look like indices, and own "__proto__": no message has such keys.
KEYS = st.from_regex(r"[a-z]{1,12}", fullmatch=True)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(KEYS, inner, max_size=20)
)


@pytest.fixture(scope="session")
def echo(node_environment: dict[str, str]) -> Iterator[Echo]:
    """Send bytes through the codec in Node."""
    command = ["node", str(HERE / "msgpack_echo.mjs"), (FOLDER / "msgpack.js").as_uri()]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=node_environment,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        to, back = process.stdin, process.stdout

        def through(data: bytes) -> str:
            to.write(data.hex() + "\n")
            to.flush()
            return back.readline().strip()

        yield through
        to.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=VALUES)
def test_a_value_goes_through_unchanged(echo: Echo, value: Any) -> None:
    assert msgpack.unpackb(bytes.fromhex(echo(msgpack.packb(value)))) == value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_value_or_an_error_of_reading(echo: Echo, data: bytes) -> None:
    answer = echo(data)
    if answer.startswith("error"):
        assert answer in ("error RangeError", "error TypeError")  # TypeError: text that is not UTF-8
    else:
        # Extension types below 0 are reserved; Python's msgpack refuses to make objects of them.
        msgpack.unpackb(bytes.fromhex(answer), strict_map_key=False, ext_hook=lambda code, data: (code, data))
