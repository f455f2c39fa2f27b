from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.runtime import masking
from disco.runtime.masking import unmask, unmasked
from tests.runtime.client_frames import masked

KEYS = st.binary(min_size=4, max_size=4)


@given(payload=st.binary(max_size=100), key=KEYS, before=st.integers(0, 20), cut=st.integers(0, 100))
def test_a_payload_is_unmasked_in_place_in_any_two_parts(
    payload: bytes, key: bytes, before: int, cut: int
) -> None:
    cut = min(cut, len(payload))
    buffer = np.zeros(before + len(payload) + 20, np.uint8)
    buffer[before : before + len(payload)] = np.frombuffer(masked(payload, key), np.uint8)
    unmask(buffer, before, before + cut, key, 0)
    unmask(buffer, before + cut, before + len(payload), key, cut)
    assert buffer[before : before + len(payload)].tobytes() == payload
    assert not buffer[:before].any()
    assert not buffer[before + len(payload) :].any()


@pytest.mark.parametrize("masker", [masking.apply_mask, None], ids=["in C", "numpy"])
def test_a_whole_payload_is_unmasked_into_a_copy(
    masker: Callable[[memoryview, bytes], bytes] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masking, "apply_mask", masker)

    @given(payload=st.binary(max_size=4096), key=KEYS, before=st.integers(0, 9))
    def check(payload: bytes, key: bytes, before: int) -> None:
        data = bytes(before) + masked(payload, key) + b"next frame"
        assert bytes(unmasked(data, before, before + len(payload), key)) == payload

    check()


def test_the_masker_in_c_is_there() -> None:
    assert masking.apply_mask is not None
