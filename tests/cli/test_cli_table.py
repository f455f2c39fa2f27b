from __future__ import annotations

import io
from contextlib import redirect_stdout

import pytest

from disco.cli.table import print_table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_drawn_table() -> None:
    with redirect_stdout(Terminal()) as terminal:
        print_table(["ID", "round"], [["titanic", 7]])
    assert "│ titanic │     7 │" in terminal.getvalue()


def test_a_pipe_gets_lines_of_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["ID", "round"], [["titanic", 7]])
    assert capsys.readouterr().out == "ID\tround\ntitanic\t7\n"


@pytest.mark.parametrize("title", ["\x1b[2J", "[bold]", "a\tb\n"])
def test_a_strangers_title_cannot_steer_the_terminal(title: str) -> None:
    with redirect_stdout(Terminal()) as terminal:
        print_table(["title"], [[title]])
    shown = terminal.getvalue()
    assert "│" in shown
    assert "\x1b[2J" not in shown
    assert "\t" not in shown
    assert ("[bold]" in shown) == (title == "[bold]")


def test_a_strangers_title_stays_on_its_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["title", "round"], [["a\tb\nc", 1]])
    assert capsys.readouterr().out.splitlines() == [
        "title\tround",
        "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\t1",
    ]
