"""What waits for one connection."""

from __future__ import annotations

from collections.abc import Callable

from disco.runtime.outbox import NOW_BYTES, Farewell, Outbox, Rest
from disco.runtime.transport import Sent


class Wire:
    """Takes messages without waiting, as much of them as told."""

    def __init__(self, takes: Sent) -> None:
        self.takes = takes
        self.sent: list[bytes] = []

    def __call__(self, data: bytes) -> Sent:
        if self.takes is not Sent.NOTHING:
            self.sent.append(data)
        return self.takes


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


class Batch:
    """Lets what is put be sent together, when it is told to."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def __call__(self, call: Callable[[], None]) -> bool:
        self.calls.append(call)
        return True

    def end(self) -> None:
        for call in self.calls:
            call()


def test_a_deferred_message_goes_out_without_a_writer_when_the_batch_ends() -> None:
    wire, batch, (needed, need) = Wire(Sent.ALL), Batch(), counting()
    outbox = Outbox(10, wire, need)
    outbox.defer = batch
    outbox.put(b"x")
    assert wire.sent == []
    batch.end()
    assert wire.sent == [b"x"]
    assert (outbox.depth, needed) == (0, [])


def test_deferred_messages_leave_once_and_in_order() -> None:
    wire, batch = Wire(Sent.ALL), Batch()
    outbox = Outbox(2, wire)
    outbox.defer = batch
    for data in (b"1", b"2", b"3", b"4"):
        outbox.put(data)
    batch.end()
    assert wire.sent == [b"1", b"2", b"3", b"4"]


def test_what_cannot_be_sent_when_the_batch_ends_waits_for_a_writer() -> None:
    for takes, left in ((Sent.NOTHING, b"x"), (Sent.PART, Rest.REST)):
        wire, batch, (needed, need) = Wire(takes), Batch(), counting()
        outbox = Outbox(10, wire, need)
        outbox.defer = batch
        outbox.put(b"x")
        batch.end()
        assert needed == [None]
        outbox.put(b"y")
        assert taken(outbox) == [left, b"y"]


def test_a_large_message_goes_behind_a_deferred_one() -> None:
    wire, batch = Wire(Sent.ALL), Batch()
    outbox = Outbox(10, wire)
    outbox.defer = batch
    outbox.put(b"small")
    outbox.put(bytes(NOW_BYTES + 1))
    assert wire.sent == [b"small"]
    batch.end()
    assert (wire.sent, outbox.depth) == ([b"small"], 1)


def test_a_deferred_message_is_sent_before_the_farewell() -> None:
    wire, batch = Wire(Sent.ALL), Batch()
    outbox = Outbox(10, wire)
    outbox.defer = batch
    outbox.put(b"x")
    outbox.close(1000, "")
    batch.end()
    assert wire.sent == [b"x"]
    assert taken(outbox) == [Farewell(1000, "")]
