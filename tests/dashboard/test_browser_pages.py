"""The pages in a real browser: what they show, live, by keyboard, and to everybody."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from disco.participant import BlockingParticipant
from tests.conftest import TINY
from tests.dashboard.conftest import WIDTHS, OpenPage

pytestmark = pytest.mark.slow

PATHS = {"tasks": "/", "task": "/tasks/breast_cancer", "join": "/tasks/digits/join", "add": "/add"}
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def settled(page: Any) -> None:
    """Wait until a page shows what it fetched."""
    page.wait_for_function("() => !document.querySelector('main').textContent.includes('oading')")
    if "/join" not in page.url and "/add" not in page.url:
        page.wait_for_selector("#live[data-state=live]")


@pytest.mark.parametrize("name", PATHS)
def test_everybody_can_use_a_page_on_a_phone_and_a_desk_by_day_and_night(  # all rules of axe-core
    open_page: OpenPage, axe: str, picture: Callable[[Any, str], None], name: str
) -> None:
    page = open_page(PATHS[name], bypass_csp=True)
    settled(page)
    page.evaluate(axe)
    told = []
    for width, scheme in product(WIDTHS, ("light", "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        found = page.evaluate("async () => (await axe.run()).violations")
        told += [(width, scheme, one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]
        if name in ("tasks", "add"):
            picture(page, f"{name}-{width}-{scheme}")
    assert told == []


@pytest.mark.parametrize("name", PATHS)
def test_a_page_is_not_wider_than_its_window(open_page: OpenPage, name: str) -> None:
    page = open_page(PATHS[name])
    settled(page)
    for width in (320, *WIDTHS):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", PATHS)
def test_a_page_asks_nobody_but_its_server(open_page: OpenPage, dashboard: str, name: str) -> None:
    page = open_page("/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(dashboard + PATHS[name])
    settled(page)
    assert asked
    assert all(url.startswith((dashboard, "blob:", "data:")) for url in asked), asked


def test_the_tasks_are_cards_that_lead_to_their_pages(open_page: OpenPage) -> None:
    page = open_page("/")
    settled(page)
    assert page.locator(".card").count() >= 7
    page.locator(".card", has_text="Titanic").get_by_role("link").click()
    page.wait_for_selector("h1:has-text('Titanic')")
    assert page.url.endswith("/tasks/titanic")


def test_a_participant_is_seen_coming_and_going_without_reloading(
    open_page: OpenPage, dashboard: str
) -> None:
    page = open_page("/tasks/simple_face")
    settled(page)
    page.wait_for_selector("text=Nobody is here now")
    with BlockingParticipant(dashboard, "simple_face"):
        page.wait_for_selector("ul[aria-label=Participants] li")
        assert page.locator("dt:has-text('Participants') + dd").inner_text() == "1"
    page.wait_for_selector("text=Nobody is here now")


def test_peers_are_seen_with_their_round_and_who_is_ready(open_page: OpenPage) -> None:
    page = open_page("/tasks/digits")
    settled(page)
    join = """async () => {
        const { encode } = await import("/dashboard/msgpack.js");
        const socket = new WebSocket(location.href.replace("http", "ws").replace("tasks", "decentralized"));
        await new Promise((resolve) => socket.addEventListener("open", resolve));
        socket.send(encode({ type: "ClientConnected" }));
        await new Promise((resolve) => socket.addEventListener("message", resolve, { once: true }));
        (window.sockets ??= []).push(socket);
        if (window.sockets.length === 1) socket.send(encode({ type: "PeerIsReady" }));
    }"""
    page.evaluate(join)
    page.evaluate(join)
    page.wait_for_selector("dt:text-is('Ready') + dd:text-is('1 of 3')")
    assert page.locator("dt:text-is('Peers') + dd").inner_text() == "2"
    assert page.locator("dt:text-is('Round') + dd").inner_text() == "0"
    chips = page.get_by_role("list", name="Peers speaking v4").get_by_role("listitem")
    assert sorted(chip.split(maxsplit=1)[1] for chip in chips.all_text_contents()) == [
        "is not ready yet",
        "✓ is ready",
    ]
    page.evaluate("window.sockets.forEach((socket) => socket.close())")
    page.wait_for_selector("text=Nobody is here now")


def test_the_first_tab_stop_skips_to_the_content(open_page: OpenPage) -> None:
    page = open_page("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_arrow_keys_choose_how_to_take_part(open_page: OpenPage) -> None:
    page = open_page("/tasks/titanic")
    page.get_by_role("tab", name="Python").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Shell").get_attribute("aria-selected") == "true"
    assert "disco join titanic --server http" in page.get_by_role("tabpanel").inner_text()


def test_a_task_is_paused_resumed_and_rolled_back(open_page: OpenPage) -> None:
    page = open_page("/tasks/titanic")
    settled(page)
    page.get_by_role("button", name="Pause").click()
    page.wait_for_selector(".pill:has-text('paused')")
    page.wait_for_selector("text=an admin has paused the task")
    page.get_by_role("button", name="Resume").click()
    page.wait_for_selector(".pill:has-text('waiting for participants')")
    page.get_by_role("button", name="Roll back…").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    page.wait_for_selector("text=now has the model of round 0")
    page.wait_for_selector("dt:text-is('Round') + dd:text-is('1')")


def drop(page: Any, place: str, *paths: Path) -> None:
    """Drop files from a desktop on an element."""
    files = [(path.name, base64.b64encode(path.read_bytes()).decode()) for path in paths]
    transfer = page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [name, text] of files)
                transfer.items.add(new File([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], name));
            return transfer;
        }""",
        files,
    )
    page.dispatch_event(place, "drop", {"dataTransfer": transfer})


def test_a_task_is_added_after_its_mistakes_are_shown_at_their_fields(
    open_page: OpenPage, tmp_path: Any
) -> None:
    page = open_page("/add")
    page.get_by_label("ID", exact=True).fill("no spaces allowed")
    page.get_by_label("Batch size").fill("-3")
    page.get_by_role("button", name="Add the task").click()
    page.wait_for_selector("[aria-invalid=true]")
    wrong = page.locator("[aria-invalid=true]").evaluate_all(
        "all => all.map((one) => one.name.split('.').pop())"
    )
    assert {"taskID", "taskTitle", "batchSize", "inputColumns", "outputColumns"} <= set(wrong)
    assert "is missing" in page.locator("#files-problem").inner_text()
    assert page.evaluate("document.activeElement.name") == "task.taskID"

    page.get_by_label("ID", exact=True).fill("from-the-page")
    page.get_by_label("Title").fill(MARKUP)
    page.get_by_label("Batch size").fill("4")
    page.get_by_label("Input columns").fill("a, b")
    page.get_by_label("Output columns").fill("y")
    drop(page, ".drop", TINY / "tiny" / "model.json", TINY / "tiny" / "weights.bin")
    page.wait_for_selector("text=model.json, ")
    page.get_by_role("button", name="Add the task").click()
    page.wait_for_url("**/tasks/from-the-page")
    page.wait_for_selector("h1")
    assert page.locator("h1").inner_text() == MARKUP
    assert page.locator("main img").count() == 0


def test_what_a_stranger_wrote_is_text_in_the_list_of_refusals(open_page: OpenPage, dashboard: str) -> None:
    page = open_page("/tasks/breast_cancer")
    settled(page)
    page.evaluate(
        """async (name) => {
            const { encode } = await import("/dashboard/msgpack.js");
            const { packWeights } = await import("/dashboard/participant.js");
            const socket = new WebSocket(location.href.replace("http", "ws").replace("tasks", "federated"));
            await new Promise((resolve) => socket.addEventListener("open", resolve));
            socket.send(encode({ type: "ClientConnected" }));
            const payload = packWeights([{ shape: [1], data: new Float32Array(1) }]);
            socket.send(encode({ type: "SendPayload", payload, round: 0, metrics: { [name]: Infinity } }));
        }""",
        MARKUP,
    )
    page.wait_for_selector("[aria-label='Refused contributions'] td")
    assert json.dumps(MARKUP)[1:20] in page.locator("[aria-label='Refused contributions']").inner_text()
    assert page.locator("main img").count() == 0
