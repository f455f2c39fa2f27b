"""The documentation as a site: builds strictly, its links lead somewhere, and it needs no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from tests.conftest import missing
from tests.docs.pages import ROOT


class Page(HTMLParser):
    """What a page links to, what it loads, and which anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in ("script", "img", "iframe", "source") and "src" in given:
            self.loads.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.loads.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    if find_spec("material") is None or find_spec("mkdocstrings") is None:
        missing("MkDocs Material is not here")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-3000:]
    return {path: Page(path.read_text("utf-8")) for path in folder.rglob("*.html")}


def test_every_link_leads_to_a_page_and_its_anchor(site: dict[Path, Page]) -> None:
    broken = []
    for path, page in site.items():
        for link in page.links:
            address, anchor = urldefrag(link)
            if urlsplit(link).scheme or path.name == "404.html":
                continue
            target = (path.parent / unquote(address)).resolve() if address else path
            if not target.exists() or (anchor and unquote(anchor) not in site[target].anchors):
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_pages_load_nothing_from_elsewhere(site: dict[Path, Page]) -> None:
    foreign = {load for page in site.values() for load in page.loads if urlsplit(load).netloc}
    assert foreign == set()


def test_stylesheets_load_nothing_from_elsewhere(site: dict[Path, Page]) -> None:
    root = next(iter(site)).parent
    styles = [path.read_text("utf-8") for path in root.rglob("*.css")]
    assert [url for text in styles for url in re.findall(r"url\((https?:[^)]+)\)", text)] == []


def test_pictures_have_a_title_and_a_description() -> None:
    for path in (ROOT / "docs" / "pictures").glob("*.svg"):
        text = path.read_text("utf-8")
        assert re.search(r"<title[^>]*>[^<]+</title>\s*<desc[^>]*>[^<]+</desc>", text), path.name


@pytest.mark.parametrize("name", ["Participant", "BlockingParticipant", "peer.Peer"])
def test_the_reference_has_all_that_a_participant_offers(site: dict[Path, Page], name: str) -> None:
    module, _, last = f"disco.participant.{name}".rpartition(".")
    offered = [member for member in vars(getattr(import_module(module), last)) if not member.startswith("_")]
    [anchors] = [page.anchors for path, page in site.items() if path.name == "api.html"]
    assert {f"{module}.{last}.{member}" for member in offered} <= anchors


def test_the_marks_of_blocks_do_not_show(site: dict[Path, Page]) -> None:
    for path in site:
        assert "exec=background" not in path.read_text("utf-8"), path.name
