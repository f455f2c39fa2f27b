"""What the documentation says is true: its blocks run, its bytes decode, nothing is left out."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from disco.cli import COMMANDS, main
from disco.core.events import Misdelivered
from disco.core.names import ParticipantID, Scheme
from disco.wire import DIALECTS
from tests.docs.pages import DOCS, ROOT, Block, blocks, run_page

PAGES = sorted(DOCS.glob("*.md"))
TO_RUN = [page for page in PAGES if any("exec" in block.marks for block in blocks(page))]
#: What a block may need that a test does not have.
NEEDS = {
    "checkout", "curl", "deployment", "docker", "flower", "internet", "kubernetes", "minutes", "participants",
    "peers", "systemd", "task", "terminal", "zsh",
}  # fmt: skip
#: Pages whose Python examples have a test of their own.
OWN_TEST = {
    "participants": "tests/docs/test_participants_doc.py",
    "privacy": "tests/docs/test_privacy_doc.py",
}
WIRE = [block for block in blocks(DOCS / "protocol.md") if "wire" in block.marks]


@pytest.mark.slow
@pytest.mark.parametrize("page", TO_RUN, ids=lambda page: page.stem)
def test_every_marked_block_runs(page: Path, tmp_path: Path) -> None:
    assert run_page(page, tmp_path) > 0


def test_the_pages_that_promise_to_run_do() -> None:
    assert {"start", "from-flower"} <= {page.stem for page in TO_RUN}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_block_is_run_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        marks, where = block.marks, f"{page.name}:{block.line}"
        if block.language == "python" and page.stem in OWN_TEST:
            assert (ROOT / OWN_TEST[page.stem]).exists()
        elif block.language in ("sh", "python"):
            assert marks.keys() & {"exec", "file", "run", "needs", "test"}, (
                f"{where} is not run, and says not why"
            )
            assert marks.get("needs") in {None, *NEEDS}, where
            assert (ROOT / marks.get("test", "tests")).exists(), where


COMMAND = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )?(?:\./scripts/)?disco (?P<words>[^|&>#\n]+)", re.MULTILINE)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.stem)
def test_every_disco_command_has_options_that_there_are(page: Path) -> None:
    for block in blocks(page):
        for found in COMMAND.finditer(textwrap.dedent(block.text) if block.language == "sh" else ""):
            asked = CliRunner().invoke(main, [*shlex.split(found["words"]), "--help"])
            assert asked.exit_code == 0, f"{page.name}:{block.line} {found[0]}: {asked.output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_blocks_are_python(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            compile(
                block.text,
                f"{page.name}:{block.line}",
                "exec",
                ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                dont_inherit=True,
            )


@pytest.mark.parametrize("block", WIRE, ids=lambda block: f"line {block.line}")
def test_every_message_of_the_protocol_page_decodes(block: Block) -> None:
    data = bytes.fromhex("".join(line.partition("#")[0] for line in block.text.splitlines()))
    name, scheme, sender = block.marks["wire"].split("/")
    dialect = DIALECTS[name]
    if sender == "client":
        event, _ = dialect.decode(data, ParticipantID("me"), Scheme(scheme), dialect.FORM)
        assert not isinstance(event, Misdelivered), event
    else:
        dialect.parse(data, Scheme(scheme))


@pytest.mark.parametrize("name", DIALECTS)
def test_the_protocol_page_names_every_message_of_a_generation(name: str) -> None:
    text = (DOCS / "protocol.md").read_text("utf-8")
    words = import_module(f"disco.wire.{name}_words")
    messages = [code.name for code in words.Code] if name == "v2" else _messages(words)
    assert [message for message in messages if message not in text] == []


def _messages(words: ModuleType) -> list[str]:
    defined = {name: value for name, value in vars(words).items() if isinstance(value, type)}
    return [name for name, value in defined.items() if value.__module__ == words.__name__]


def test_every_command_is_documented() -> None:
    text = (DOCS / "commands.md").read_text("utf-8")
    assert [name for name in COMMANDS if f"disco {name}" not in text] == []


LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_links_from_the_root_lead_somewhere(page: str) -> None:
    targets = LINK.findall((ROOT / page).read_text("utf-8"))
    assert [target for target in targets if not (ROOT / target).exists()] == []
