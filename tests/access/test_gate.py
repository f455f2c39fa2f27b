"""Who may do what on a server that listens to more than this machine, over real sockets."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from trio_websocket import open_websocket_url

from disco.core.access import Role
from disco.settings import Access
from disco.web.gatekeeping import DEEDS
from tests.access.http import Answer, ask, bearer, token_for
from tests.conftest import TINY, Server, ServerFactory
from tests.web.clients import upgrade, v2
from tests.web.test_tasks import task as posted_task

SOURCE = json.loads((TINY / "tiny" / "model.json").read_text())


def submission(name: str = "posted", **session: Any) -> bytes:
    weights = list((TINY / "tiny" / "weights.bin").read_bytes())
    document = {**posted_task(name), "session": session}
    return json.dumps({"task": document, "model": SOURCE, "weights": weights}).encode()


async def add(
    server: Server, name: str = "posted", token: str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    shown = {**(headers or {}), **(bearer(token) if token else {})}
    return await ask(server.url + "/tasks", "POST", submission(name), shown)


@pytest.fixture
async def public(start: ServerFactory) -> AsyncIterator[Server]:
    """A server that listens on every address."""
    async with start(host="0.0.0.0") as server:
        yield server


# ── adding, changing, removing ───────────────────────────────────────────────────────────────────────────


async def test_this_machine_may_do_everything_on_a_server_that_listens_to_it_alone(server: Server) -> None:
    assert (await add(server)).status == 201
    assert (await ask(server.url + "/tasks/posted", "DELETE")).status == 204
    assert (await ask(server.url + "/tasks/posted")).status == 404


async def test_elsewhere_adding_needs_a_token_and_says_so(public: Server) -> None:
    answer = await add(public)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "needs a token" in answer.json["error"]
    assert (await ask(public.url + "/tasks/posted")).status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/tasks/tiny"),
        ("PUT", "/tasks/tiny"),
        ("POST", "/tasks/tiny/pause"),
        ("POST", "/tasks/tiny/rollback"),
    ],
)
async def test_elsewhere_managing_needs_a_token(public: Server, method: str, path: str) -> None:
    assert (await ask(public.url + path, method, b"{}")).status == 401
    for role in (Role.VIEWER, Role.PARTICIPANT):
        refused = await ask(
            public.url + path, method, b"{}", headers=bearer(token_for(public.settings, role))
        )
        assert refused.status == 403
        assert f"of a {role}" in refused.json["error"]
    assert (await ask(public.url + "/tasks/tiny")).status == 200


async def test_an_admin_adds_changes_and_removes(public: Server) -> None:
    token = token_for(public.settings, Role.ADMIN)
    assert (await add(public, token=token)).status == 201
    changed = {**posted_task("posted"), "displayInformation": {"taskTitle": "Changed"}}
    answer = await ask(
        public.url + "/tasks/posted", "PUT", json.dumps(changed).encode(), headers=bearer(token)
    )
    assert answer.status == 200
    assert (await ask(public.url + "/tasks/posted")).json["displayInformation"]["taskTitle"] == "Changed"
    assert (await ask(public.url + "/tasks/posted", "DELETE", headers=bearer(token))).status == 204


async def test_an_admin_of_some_tasks_is_none_of_others(public: Server) -> None:
    token = token_for(public.settings, Role.ADMIN, "mine")
    assert (await add(public, "mine", token)).status == 201
    assert (await add(public, "another", token)).status == 403
    assert (await ask(public.url + "/tasks/tiny", "DELETE", headers=bearer(token))).status == 403


async def test_a_token_made_or_revoked_meanwhile_counts_at_once(public: Server) -> None:
    token = token_for(public.settings, Role.ADMIN)
    assert (await add(public, "one", token)).status == 201
    with public.app.gate.tokens.changing() as tokens:
        tokens.clear()
    assert (await add(public, "two", token)).status == 401


@pytest.mark.parametrize("wrong", ["disco_00000000_" + "A" * 43, "nonsense", "a.b.c"])
async def test_a_wrong_token_is_refused_where_none_would_be_needed(public: Server, wrong: str) -> None:
    assert (await ask(public.url + "/tasks", headers=bearer(wrong))).status == 401
    status, body = await upgrade(public.ws + "/federated/tiny", f"Authorization: Bearer {wrong}\r\n")
    assert (status, "not valid" in body) == (401, True)


async def test_an_expired_token_is_refused(public: Server) -> None:
    token = token_for(public.settings, Role.ADMIN, expires_at=time.time() - 1)
    answer = await add(public, token=token)
    assert (answer.status, "expired" in answer.json["error"]) == (401, True)


async def test_other_schemes_of_authorization_are_a_proxys_business(public: Server) -> None:
    assert (await ask(public.url + "/tasks", headers={"Authorization": "Basic dTpw"})).status == 200


async def test_open_lets_everybody(start: ServerFactory) -> None:
    async with start(host="0.0.0.0", access=Access(manage="open")) as server:
        assert (await add(server)).status == 201
        assert server.app.gate.describe().startswith("OPEN")


async def test_token_holds_on_loopback_too(start: ServerFactory) -> None:
    async with start(access=Access(manage="token")) as server:
        assert (await add(server)).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "203.0.113.7"},
        {"Forwarded": "for=203.0.113.7"},
        {"Via": "1.1 proxy"},
        {"Host": "evil.example"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_what_comes_by_a_proxy_or_under_another_name_is_not_this_machine(
    server: Server, headers: dict[str, str]
) -> None:
    assert (await add(server, headers=headers)).status == 401


async def test_a_damaged_token_file_closes_the_gate_and_leaves_the_open_doors_open(public: Server) -> None:
    public.app.gate.tokens.path.write_text("{")
    token = "disco_00000000_" + "A" * 43
    assert (await add(public, token=token)).status == 503
    assert (await ask(public.url + "/tasks")).status == 200


async def test_changing_a_task_keeps_its_rounds_and_lets_participants_come_back(server: Server) -> None:
    document = json.loads((await ask(server.url + "/tasks/tiny")).body)
    document.pop("state")
    async with v2(server.ws) as one:
        document["displayInformation"]["taskTitle"] = "Another title"
        answer = await ask(server.url + "/tasks/tiny", "PUT", json.dumps({"task": document}).encode())
        assert answer.status == 200, answer.body
        assert await one.goodbye() == (1012, "the task was changed; come back")
    async with v2(server.ws) as again:
        assert (await again.ask(type=11))["round"] == 0
    assert (await ask(server.url + "/tasks/tiny")).json["displayInformation"]["taskTitle"] == "Another title"


async def test_a_task_cannot_change_its_id(server: Server) -> None:
    answer = await ask(server.url + "/tasks/tiny", "PUT", json.dumps(posted_task("other")).encode())
    assert (answer.status, answer.json["fields"][0]["path"]) == (422, "task.id")


async def test_the_participants_of_a_removed_task_are_told(server: Server) -> None:
    async with v2(server.ws) as one:
        assert (await ask(server.url + "/tasks/tiny", "DELETE")).status == 204
        assert await one.goodbye() == (1008, "the task was removed")
    assert (await upgrade(server.ws + "/federated/tiny"))[0] == 404


# ── joining ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_joining_is_open_elsewhere_too(public: Server) -> None:
    assert (await upgrade(public.ws + "/federated/tiny"))[0] == 101


@pytest.fixture
async def closed(start: ServerFactory) -> AsyncIterator[Server]:
    """A server with a task that needs a token."""
    async with start() as server:
        answer = await ask(server.url + "/tasks", "POST", submission("closed", requireToken=True))
        assert answer.status == 201, answer.body
        yield server


async def test_a_task_may_need_a_token_for_joining_and_for_its_models(closed: Server) -> None:
    status, body = await upgrade(closed.ws + "/federated/closed")
    assert (status, "needs a token" in body) == (401, True)
    assert (await ask(closed.url + "/tasks/closed/model.json")).status == 401
    assert (await ask(closed.url + "/tasks/closed/weights.bin")).status == 401
    assert (await ask(closed.url + "/tasks/closed")).status == 200
    assert (await upgrade(closed.ws + "/federated/tiny"))[0] == 101


@pytest.mark.parametrize(
    ("role", "task", "status"),
    [
        (Role.PARTICIPANT, "closed", 101),
        (Role.ADMIN, "closed", 101),
        (Role.VIEWER, "closed", 403),
        (Role.PARTICIPANT, "tiny", 403),
    ],
)
async def test_joining_by_header(closed: Server, role: Role, task: str, status: int) -> None:
    token = token_for(closed.settings, role, task)
    assert (await upgrade(closed.ws + "/federated/closed", f"Authorization: Bearer {token}\r\n"))[0] == status


async def test_joining_by_subprotocol_accepts_one_that_was_offered(closed: Server) -> None:
    token = token_for(closed.settings, Role.PARTICIPANT)
    for offered in (["disco", f"disco.token.{token}"], [f"disco.token.{token}"]):
        async with open_websocket_url(f"{closed.ws}/federated/closed", subprotocols=offered) as socket:
            assert socket.subprotocol == offered[0]
    status, _ = await upgrade(
        closed.ws + "/federated/closed", "Sec-WebSocket-Protocol: disco, disco.token.wrong\r\n"
    )
    assert status == 401


async def test_joining_by_ticket_works_once(closed: Server) -> None:
    token = token_for(closed.settings, Role.PARTICIPANT)
    ticket = (await ask(closed.url + "/tickets", "POST", headers=bearer(token))).json["ticket"]
    assert (await upgrade(f"{closed.ws}/federated/closed?ticket={ticket}"))[0] == 101
    status, body = await upgrade(f"{closed.ws}/federated/closed?ticket={ticket}")
    assert (status, "good once" in body) == (401, True)


async def test_a_ticket_needs_a_token_and_is_worth_no_more_than_it(closed: Server) -> None:
    assert (await ask(closed.url + "/tickets", "POST")).status == 401
    viewer = token_for(closed.settings, Role.VIEWER)
    answer = await ask(closed.url + "/tickets", "POST", headers=bearer(viewer))
    assert answer.headers["cache-control"] == "no-store"
    assert (await upgrade(f"{closed.ws}/federated/closed?ticket={answer.json['ticket']}"))[0] == 403


async def test_an_old_ticket_is_not_valid(closed: Server) -> None:
    token = token_for(closed.settings, Role.PARTICIPANT)
    ticket = (await ask(closed.url + "/tickets", "POST", headers=bearer(token))).json["ticket"]
    closed.app.gate.tickets.clock = lambda: time.monotonic() + closed.settings.access.ticket_seconds
    assert (await upgrade(f"{closed.ws}/federated/closed?ticket={ticket}"))[0] == 401


async def test_a_setting_closes_joining_and_reading_for_all_tasks(start: ServerFactory) -> None:
    async with start(access=Access(join="token", read="token")) as server:
        assert (await upgrade(server.ws + "/federated/tiny"))[0] == 401
        for path in (
            "/tasks",
            "/tasks/tiny",
            "/tasks/tiny/model.json",
            "/metrics",
            "/events",
            "/tasks/tiny/rounds",
        ):
            assert (await ask(server.url + path)).status == 401, path
        assert (await ask(server.url + "/healthz")).status == 200
        token = token_for(server.settings, Role.VIEWER)
        assert (await ask(server.url + "/tasks/tiny/model.json", headers=bearer(token))).status == 200


# ── origins and headers ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://lab.example", 101), ("https://evil.example", 403), ("null", 403), (None, 101), ("same", 101)],
)
async def test_websockets_are_open_to_pages_of_allowed_origins_only(
    start: ServerFactory, origin: str | None, status: int
) -> None:
    async with start(cors_origins="https://lab.example, https://b.example") as server:
        origin = server.url if origin == "same" else origin
        header = f"Origin: {origin}\r\n" if origin else ""
        assert (await upgrade(server.ws + "/federated/tiny", header))[0] == status


async def test_by_default_pages_of_every_site_may_join_but_none_may_manage(server: Server) -> None:
    assert (await upgrade(server.ws + "/federated/tiny", "Origin: https://any.example\r\n"))[0] == 101
    refused = await ask(server.url + "/tasks/tiny", "DELETE", headers={"Origin": "https://any.example"})
    assert (refused.status, "cors_origins" in refused.json["error"]) == (403, True)
    preflight = await ask(server.url + "/tasks/tiny", "OPTIONS", headers={"Origin": "https://any.example"})
    assert "DELETE" not in preflight.headers["access-control-allow-methods"]


async def test_every_answer_says_that_its_type_is_not_to_be_guessed(server: Server) -> None:
    for path in ("/", "/tasks", "/tasks/tiny/weights.bin", "/nothing"):
        headers = (await ask(server.url + path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"


async def test_every_route_is_a_deed_that_somebody_decided_on(server: Server) -> None:
    endpoints = {rule.endpoint for rule in server.app.url_map.iter_rules()}
    assert endpoints <= set(DEEDS), f"decide in disco/web/gatekeeping.py: {endpoints - set(DEEDS)}"


async def test_no_token_and_no_ticket_is_ever_logged(
    start: ServerFactory, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with start(access=Access(join="token")) as server:
            token = token_for(server.settings, Role.PARTICIPANT)
            wrong = token[:-4] + "AAAA"
            ticket = (await ask(server.url + "/tickets", "POST", headers=bearer(token))).json["ticket"]
            for shown in (token, wrong):
                await upgrade(server.ws + "/federated/tiny", f"Authorization: Bearer {shown}\r\n")
                await upgrade(
                    server.ws + "/federated/tiny", f"Sec-WebSocket-Protocol: disco, disco.token.{shown}\r\n"
                )
                await add(server, token=shown)
            for _ in range(2):
                await upgrade(f"{server.ws}/federated/tiny?ticket={ticket}")
    said = caplog.text + "".join(capfd.readouterr())
    assert "refused" in said
    for secret in (token, wrong, ticket):
        assert secret not in said
        assert secret[-40:] not in said


async def test_the_start_says_who_may_manage(start: ServerFactory, tmp_path: Path) -> None:
    async with start() as server:
        assert "only this machine" in server.app.gate.describe()
    async with start(host="0.0.0.0") as server:
        assert "there is none yet" in server.app.gate.describe()
        token_for(server.settings, Role.ADMIN)
        assert "there is none yet" not in server.app.gate.describe()
