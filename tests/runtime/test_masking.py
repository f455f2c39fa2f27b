from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from disco.runtime.masking import SMALL_BYTES, unmask, unmasked
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


@given(payload=st.binary(max_size=2 * SMALL_BYTES), key=KEYS, before=st.integers(0, 9))
def test_a_whole_payload_is_unmasked_into_a_copy(payload: bytes, key: bytes, before: int) -> None:
    data = bytes(before) + masked(payload, key) + b"next frame"
    assert bytes(unmasked(data, before, before + len(payload), key)) == payload


def test_small_and_large_payloads_are_unmasked_alike() -> None:
    for size in (SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1, SMALL_BYTES + 7, 100_003):
        payload = np.random.default_rng(size).bytes(size)
        assert bytes(unmasked(masked(payload), 0, size, b"\x11\x22\x83\xf4")) == payload
