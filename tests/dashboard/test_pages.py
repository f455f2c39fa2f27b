"""Who gets a page and who gets JSON, and what a page may do."""

from __future__ import annotations

import json
import re

import pytest

from disco.settings import Access
from disco.web.pages import FOLDER
from tests.conftest import Server, ServerFactory
from tests.dashboard.asking import BROWSER, get

PAGES = ["/", "/tasks/tiny", "/tasks/tiny/join", "/add"]


@pytest.mark.parametrize("path", PAGES)
async def test_a_browser_gets_a_page_that_may_run_its_own_scripts_only(server: Server, path: str) -> None:
    answer = await get(server, path, **BROWSER)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/tasks/tiny"])
@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/plain, */*"])
async def test_everybody_else_gets_json(server: Server, path: str, accept: str) -> None:
    answer = await get(server, path, Accept=accept)
    assert answer.headers["Content-Type"] == "application/json"
    assert "Accept" in answer.headers["Vary"]
    assert isinstance(json.loads(answer.text), dict)


async def test_a_browser_that_asks_for_an_unknown_task_gets_a_page_that_says_so(server: Server) -> None:
    answer = await get(server, "/tasks/none", **BROWSER)
    assert answer.status_code == 404
    assert "There is no such task here" in answer.text


async def test_a_browser_without_a_token_that_is_needed_gets_the_page_that_asks_for_it(
    start: ServerFactory,
) -> None:
    async with start(access=Access(read="token")) as server:
        answer = await get(server, "/tasks/tiny", **BROWSER)
        assert (answer.status_code, answer.headers["Content-Type"]) == (401, "text/html; charset=utf-8")
        assert (await get(server, "/tasks/tiny")).headers["Content-Type"] == "application/json"


async def test_a_file_that_a_browser_has_is_not_sent_again(server: Server) -> None:
    first = await get(server, "/dashboard/style.css")
    again = await get(server, "/dashboard/style.css", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["none.js", "..%2f..%2fapp.py", "%2e%2e/pages.py", "vendor", "%00.js"])
async def test_nothing_else_is_served_as_a_file(server: Server, name: str) -> None:
    assert (await get(server, f"/dashboard/{name}")).status_code == 404


def test_no_page_has_an_inline_script_style_or_address_elsewhere() -> None:
    for page in FOLDER.glob("*.html"):
        text = page.read_text("utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", text), page.name
        assert not re.search(r"""(?:src|href)=["'](?!/)""", text.replace('href="#main"', "")), page.name


def test_no_script_makes_markup_from_text() -> None:
    for script in FOLDER.glob("*.js"):
        text = script.read_text("utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), (
            script.name
        )
