"""What is put off is done at the end of a turn."""

from __future__ import annotations

import pytest

from disco.runtime.turn import Turn


def test_what_is_put_off_is_done_at_the_end_in_order() -> None:
    turn, done = Turn(), []
    with turn:
        assert turn.defer(lambda: done.append("first"))
        assert turn.defer(lambda: done.append("second"))
        assert done == []
    assert done == ["first", "second"]


def test_outside_a_turn_nothing_is_put_off() -> None:
    turn, done = Turn(), []
    assert not turn.defer(lambda: done.append("never"))
    with turn:
        pass
    assert done == []


def test_a_turn_within_a_turn_ends_with_it() -> None:
    turn, done = Turn(), []
    with turn:
        with turn:
            turn.defer(lambda: done.append("inner"))
        assert done == []
        turn.defer(lambda: done.append("outer"))
    assert done == ["inner", "outer"]


def test_what_was_put_off_before_an_error_is_done() -> None:
    turn, done = Turn(), []

    def break_down() -> None:
        with turn:
            turn.defer(lambda: done.append("before"))
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        break_down()
    assert done == ["before"]
