"""What waits for one connection."""

from __future__ import annotations

from collections.abc import Callable

from disco.runtime.outbox import NOW_BYTES, Farewell, Outbox, Rest
from disco.runtime.transport import Sent
from disco.runtime.turn import Turn


class Wire:
    """Takes messages without waiting, as much of them as told; `calls` is what was sent together."""

    def __init__(self, takes: Sent) -> None:
        self.takes = takes
        self.calls: list[tuple[bytes, ...]] = []

    def __call__(self, *messages: bytes) -> Sent:
        if self.takes is not Sent.NOTHING:
            self.calls.append(messages)
        return self.takes

    @property
    def sent(self) -> list[bytes]:
        return [message for call in self.calls for message in call]


def taken(outbox: Outbox) -> list[object]:
    return list(iter(outbox.take, None))


def counting() -> tuple[list[None], Callable[[], None]]:
    calls: list[None] = []
    return calls, lambda: calls.append(None)


def test_messages_leave_in_order() -> None:
    outbox = Outbox(10)
    for data in (b"1", b"2", b"3"):
        outbox.put(data)
    assert taken(outbox) == [b"1", b"2", b"3"]


def test_a_newer_model_replaces_the_one_that_waits_and_nothing_else() -> None:
    outbox = Outbox(10)
    outbox.put(b"news")
    outbox.put(b"old model", replaceable=True)
    outbox.put(b"more news")
    outbox.put(b"new model", replaceable=True)
    assert taken(outbox) == [b"news", b"more news", b"new model"]


def test_whoever_lets_too_much_pile_up_is_let_go_with_the_limit_named() -> None:
    outbox = Outbox(2)
    for _ in range(3):
        outbox.put(b"x")
    (farewell,) = taken(outbox)
    assert isinstance(farewell, Farewell)
    assert farewell.code == 1008
    assert "limits.outbox_messages, 2" in farewell.reason


def test_what_waits_is_sent_before_the_farewell_and_the_first_reason_stays() -> None:
    outbox = Outbox(10)
    outbox.put(b"last words")
    outbox.close(1001, "stopping")
    outbox.close(1000, "")
    outbox.put(b"too late")
    assert taken(outbox) == [b"last words", Farewell(1001, "stopping")]


def test_the_farewell_comes_once() -> None:
    outbox = Outbox(10)
    outbox.close(1001, "stopping")
    assert taken(outbox) == [Farewell(1001, "stopping")]
    assert (outbox.waiting, outbox.take()) == (False, None)


def test_what_the_connection_takes_at_once_needs_no_writer() -> None:
    wire, (calls, needed) = Wire(Sent.ALL), counting()
    outbox = Outbox(10, wire, needed)
    outbox.put(b"now")
    assert (wire.sent, taken(outbox), calls) == ([b"now"], [], [])


def test_of_what_the_connection_takes_a_part_a_writer_sends_the_rest_before_all_else() -> None:
    wire, (calls, needed) = Wire(Sent.PART), counting()
    outbox = Outbox(10, wire, needed)
    outbox.put(b"model", replaceable=True)
    outbox.put(b"newer model", replaceable=True)
    assert wire.sent == [b"model"]
    assert len(calls) == 2
    assert taken(outbox) == [Rest.REST, b"newer model"]


def test_nothing_overtakes_what_waits() -> None:
    wire, (_, needed) = Wire(Sent.NOTHING), counting()
    outbox = Outbox(10, wire, needed)
    outbox.put(b"first")
    wire.takes = Sent.ALL
    outbox.put(b"second")
    assert wire.sent == []
    assert taken(outbox) == [b"first", b"second"]


def test_a_large_message_is_left_to_the_writer() -> None:
    wire, (calls, needed) = Wire(Sent.ALL), counting()
    outbox = Outbox(10, wire, needed)
    outbox.put(bytes(NOW_BYTES + 1))
    assert wire.sent == []
    assert len(calls) == 1


def test_a_message_begun_is_finished_although_its_reader_is_let_go() -> None:
    outbox = Outbox(1, Wire(Sent.PART))
    outbox.put(b"begun")
    outbox.put(b"too much")
    assert taken(outbox)[0] is Rest.REST


def in_turns(limit: int, wire: Wire, needed: Callable[[], None] = lambda: None) -> tuple[Outbox, Turn]:
    outbox, turn = Outbox(limit, wire, needed), Turn()
    outbox.defer = turn.defer
    return outbox, turn


def test_what_is_put_in_a_turn_goes_out_together_without_a_writer_when_it_ends() -> None:
    wire, (needed, need) = Wire(Sent.ALL), counting()
    outbox, turn = in_turns(10, wire, need)
    with turn:
        outbox.put(b"x")
        outbox.put(b"y")
        assert wire.calls == []
    assert wire.calls == [(b"x", b"y")]
    assert (outbox.depth, needed) == (0, [])


def test_of_more_than_the_limit_in_a_turn_nothing_is_lost_while_the_connection_takes_it() -> None:
    wire = Wire(Sent.ALL)
    outbox, turn = in_turns(2, wire)
    with turn:
        for data in (b"1", b"2", b"3", b"4"):
            outbox.put(data)
    assert wire.sent == [b"1", b"2", b"3", b"4"]


def test_more_than_goes_at_once_is_not_sent_together() -> None:
    wire, half = Wire(Sent.ALL), bytes(NOW_BYTES // 2)
    outbox, turn = in_turns(10, wire)
    with turn:
        for _ in range(3):
            outbox.put(half)
    assert [len(call) for call in wire.calls] == [2, 1]


def test_a_newer_model_replaces_one_of_the_same_turn() -> None:
    wire = Wire(Sent.ALL)
    outbox, turn = in_turns(10, wire)
    with turn:
        outbox.put(b"old model", replaceable=True)
        outbox.put(b"news")
        outbox.put(b"new model", replaceable=True)
    assert wire.calls == [(b"news", b"new model")]


def test_what_cannot_be_sent_when_the_turn_ends_waits_for_a_writer() -> None:
    for takes, left in ((Sent.NOTHING, [b"x", b"y"]), (Sent.PART, [Rest.REST])):
        needed, need = counting()
        outbox, turn = in_turns(10, Wire(takes), need)
        with turn:
            outbox.put(b"x")
            outbox.put(b"y")
        assert needed == [None]
        outbox.put(b"z")
        assert taken(outbox) == [*left, b"z"]


def test_a_large_message_goes_behind_what_was_put_before_it_in_a_turn() -> None:
    wire = Wire(Sent.ALL)
    outbox, turn = in_turns(10, wire)
    with turn:
        outbox.put(b"small")
        outbox.put(bytes(NOW_BYTES + 1))
    assert (wire.sent, outbox.depth) == ([b"small"], 1)


def test_what_was_put_in_a_turn_is_sent_before_the_farewell() -> None:
    wire = Wire(Sent.ALL)
    outbox, turn = in_turns(10, wire)
    with turn:
        outbox.put(b"x")
        outbox.close(1000, "")
    assert wire.sent == [b"x"]
    assert taken(outbox) == [Farewell(1000, "")]
