"""A federated participant against a real server."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import trio
import trio.testing

from disco.errors import ConnectionLost, Refused, SettingsError
from disco.participant import News, NewsKind, Participant
from disco.settings import Aggregation, Limits
from tests.conftest import Server, ServerFactory
from tests.participant.together import contribute, exchange_together, filled

DIALECTS = ["v2", "v3", "v4"]
PAIRS = [("v4", "v4"), ("v3", "v3"), ("v2", "v2"), ("v2", "v4"), ("v4", "v3")]


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_both_get_the_exact_mean_each_round(server: Server, first: str, second: str) -> None:
    async with (
        Participant(server.url, "tiny", dialect=first) as one,
        Participant(server.url, "tiny", dialect=second) as two,
    ):
        for number in range(3):
            models = await exchange_together({one: 1.0 + number, two: 2.5 + number})
            for model in models:
                for tensor, wanted in zip(model, filled(one, 1.75 + number), strict=True):
                    np.testing.assert_array_equal(tensor, wanted)
            assert (one.round, two.round) == (number + 1, number + 1)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_joining_gives_the_task_and_its_current_model(server: Server, dialect: str) -> None:
    initial = server.app.directory.get("tiny").model.weights
    async with Participant(server.url, "tiny", dialect=dialect) as participant:
        assert participant.task["id"] == "tiny"
        assert participant.round == 0
        assert [tensor.shape for tensor in participant.weights] == [(2, 3), (3,), (3, 1), (1,)]
        for tensor, wanted in zip(participant.weights, initial.arrays(), strict=True):
            np.testing.assert_array_equal(tensor, wanted)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_joining_later_gives_the_latest_model_and_round(server: Server, dialect: str) -> None:
    async with Participant(server.url, "tiny") as one, Participant(server.url, "tiny") as two:
        await exchange_together({one: 1.0, two: 3.0})
    async with Participant(server.url, "tiny", dialect=dialect) as late:
        assert late.round == 1
        np.testing.assert_array_equal(late.weights[0], filled(late, 2.0)[0])


async def test_weights_are_the_callers_own_to_change(server: Server) -> None:
    async with Participant(server.url, "tiny") as one, Participant(server.url, "tiny") as two:
        result, _ = await exchange_together({one: 1.0, two: 3.0})
        result[0] += 40.0
        assert one.weights[0].max() == 2.0


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_who_is_late_gets_the_current_model_and_goes_on_from_it(
    start: ServerFactory, dialect: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        start(aggregation=Aggregation(interval=0.05)) as server,
        Participant(server.url, "tiny", dialect=dialect) as late,
    ):
        async with Participant(server.url, "tiny") as one, Participant(server.url, "tiny") as two:
            await exchange_together({one: 1.0, two: 3.0})
            with caplog.at_level(logging.INFO, "disco.participant"):
                adopted = await contribute(late, 100.0)
            np.testing.assert_array_equal(adopted[0], filled(late, 2.0)[0])
            assert late.round == 1
        with trio.fail_after(5):
            async with Participant(server.url, "tiny") as other:
                models = await exchange_together({late: 4.0, other: 6.0})
        np.testing.assert_array_equal(models[0][0], filled(late, 5.0)[0])
    assert dialect != "v4" or "round 0 is over, the current round is 1" in caplog.text


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda arrays: [np.full_like(arrays[0], np.nan), *arrays[1:]],
            "weights[0].data has a value that is not",
        ),
        (lambda arrays: [arrays[0].T, *arrays[1:]], "weights[0].shape is [3, 2] where the model has [2, 3]"),
        (lambda arrays: arrays[:3], "weights has 3 tensors where the model has 4"),
    ],
    ids=["NaN", "wrong shape", "missing tensor"],
)
async def test_a_refused_contribution_raises_the_reason_and_the_next_one_counts(
    server: Server,
    dialect: str,
    spoil: object,
    reason: str,
) -> None:
    async with (
        Participant(server.url, "tiny", dialect=dialect) as clumsy,
        Participant(server.url, "tiny") as other,
    ):
        with pytest.raises(Refused) as refusal:
            await clumsy.exchange(spoil(clumsy.weights))  # type: ignore[operator]
        assert reason in str(refusal.value)
        models = await exchange_together({clumsy: 1.0, other: 2.0})
        np.testing.assert_array_equal(models[0][0], filled(clumsy, 1.5)[0])


async def test_more_than_the_servers_limit_is_refused_with_the_limit(start: ServerFactory) -> None:
    async with (
        start(limits=Limits(message_bytes=2_000)) as server,
        Participant(server.url, "tiny") as participant,
    ):
        with trio.fail_after(5), pytest.raises(Refused, match="2000"):
            await participant.exchange([np.zeros(100_000, dtype=np.float32)])


@pytest.mark.parametrize("form", ["{}", "{}/", "ws{}", "ws{}/"])
async def test_the_url_may_be_http_or_ws_with_or_without_a_slash(server: Server, form: str) -> None:
    rest = server.url if not form.startswith("ws") else server.url.removeprefix("http")
    async with Participant(form.format(rest), "tiny") as participant:
        assert participant.participants == 1


async def test_an_unknown_task_is_refused_with_the_servers_sentence(server: Server) -> None:
    with pytest.raises(Refused, match="there is no task 'nope' here"):
        async with Participant(server.url, "nope"):
            pass


async def test_where_no_server_is_the_first_try_fails_at_once(server: Server) -> None:
    with trio.fail_after(5), pytest.raises(ConnectionLost, match="no server answers"):
        async with Participant("http://127.0.0.1:9", "tiny"):
            pass


def test_an_unknown_dialect_is_told_before_anything_is_sent() -> None:
    with pytest.raises(SettingsError, match="dialect must be one of v2, v3, v4"):
        Participant("http://127.0.0.1:8080", "tiny", dialect="v5")


async def test_waiting_for_more_and_going_on_are_news(server: Server) -> None:
    news: list[News] = []
    async with Participant(server.url, "tiny", on_news=news.append) as one:
        await exchange_once_joined(server, one)
    assert [(item.kind, item.participants) for item in news[:2]] == [
        (NewsKind.WAITING, 1),
        (NewsKind.RESUMED, 2),
    ]


async def exchange_once_joined(server: Server, one: Participant) -> None:
    """Contribute alone, which waits, until a second participant comes."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(contribute, one, 1.0)
        async with Participant(server.url, "tiny") as two:
            await contribute(two, 3.0)


async def test_one_exchange_at_a_time(server: Server) -> None:
    async with Participant(server.url, "tiny") as one, trio.open_nursery() as nursery:
        nursery.start_soon(contribute, one, 1.0)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await contribute(one, 2.0)
        nursery.cancel_scope.cancel()


async def test_an_exchange_that_is_given_up_does_not_spoil_the_next(server: Server) -> None:
    async with Participant(server.url, "tiny") as one, Participant(server.url, "tiny") as two:
        with trio.move_on_after(0.2):
            await contribute(one, 1.0)
        with trio.fail_after(5):
            models = await exchange_together({one: 50.0, two: 3.0})
    np.testing.assert_array_equal(models[0][0], filled(one, 2.0)[0])


async def test_what_the_block_raises_comes_out_as_it_is(server: Server) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Participant(server.url, "tiny"):
            raise ZeroDivisionError


async def test_leaving_frees_the_place(server: Server) -> None:
    async with Participant(server.url, "tiny"):
        pass
    async with Participant(server.url, "tiny") as alone:
        assert alone.participants == 1
