"""Reads Dockerfiles, and lints them by rules of our own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name in capitals, what follows, and its line."""

    name: str
    rest: str
    line: int

    @property
    def words(self) -> list[str]:
        """The exec form's words, or those of the text."""
        if self.rest.startswith("["):
            words: list[str] = json.loads(self.rest)
            return words
        return self.rest.split()


@dataclass
class Stage:
    """What follows one FROM."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        return [instruction for instruction in self.instructions if instruction.name == name]

    def last(self, name: str) -> Instruction | None:
        return next(iter(reversed(self.all(name))), None)


def instructions(text: str) -> Iterator[Instruction]:
    """Read one instruction after the other, lines ending in a backslash joined."""
    begun, parts = 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or not (line.strip() or parts):
            continue
        begun = begun if parts else number
        parts.append(line.rstrip().removesuffix("\\").strip())
        if line.rstrip().endswith("\\"):
            continue
        name, _, rest = " ".join(parts).partition(" ")
        parts = []
        yield Instruction(name.upper(), rest.strip(), begun)


def stages(text: str) -> list[Stage]:
    found: list[Stage] = []
    for instruction in instructions(text):
        if instruction.name == "FROM":
            base, *alias = instruction.rest.split()
            found.append(Stage(base, alias[1] if alias else ""))
        elif found:
            found[-1].instructions.append(instruction)
    return found


def lint(text: str) -> list[str]:
    """Return everything that is not as it should be."""
    found = stages(text)
    return [problem for rule in RULES for problem in rule(found)]


def bases_are_pinned(found: list[Stage]) -> Iterator[str]:
    known = {stage.name for stage in found if stage.name}
    for stage in found:
        _, _, tag = stage.base.rpartition("/")[2].partition(":")
        if stage.base not in known and "@sha256:" not in stage.base and (not tag or tag == "latest"):
            yield f"{stage.base} is not pinned to a version"


def the_user_is_not_root(found: list[Stage]) -> Iterator[str]:
    user = found[-1].last("USER")
    if user is None or user.rest.split(":")[0] in ("root", "0"):
        yield "the last stage runs as root"


def health_is_checked(found: list[Stage]) -> Iterator[str]:
    check = found[-1].last("HEALTHCHECK")
    if check is None or check.rest == "NONE":
        yield "there is no HEALTHCHECK"


def commands_are_in_exec_form(found: list[Stage]) -> Iterator[str]:
    starts = [entry for name in ("CMD", "ENTRYPOINT") for entry in found[-1].all(name)]
    if not starts:
        yield "nothing is started"
    for instruction in starts:
        if not instruction.rest.startswith("["):
            yield f"line {instruction.line}: {instruction.name} in shell form does not hand signals on"


def downloads_leave_nothing_behind(found: list[Stage]) -> Iterator[str]:
    for stage in found:
        for run in stage.all("RUN"):
            if re.search(r"\bpip install\b(?!.*--no-cache-dir)", run.rest):
                yield f"line {run.line}: pip keeps its cache in the image"
            if "apt-get install" in run.rest and "rm -rf /var/lib/apt/lists" not in run.rest:
                yield f"line {run.line}: apt-get keeps its lists in the image"


def nothing_is_fetched_by_add(found: list[Stage]) -> Iterator[str]:
    for stage in found:
        for add in stage.all("ADD"):
            yield f"line {add.line}: COPY says what ADD only may do"


def folders_are_absolute(found: list[Stage]) -> Iterator[str]:
    for stage in found:
        for folder in stage.all("WORKDIR"):
            if not folder.rest.startswith("/"):
                yield f"line {folder.line}: WORKDIR is relative"


def requirements_have_hashes(found: list[Stage]) -> Iterator[str]:
    for stage in found:
        for run in stage.all("RUN"):
            if re.search(r"\bpip install\b.* -r ", run.rest) and "--require-hashes" not in run.rest:
                yield f"line {run.line}: requirements are installed without their hashes"


Rule = Callable[[list[Stage]], Iterator[str]]
RULES: tuple[Rule, ...] = (
    bases_are_pinned,
    the_user_is_not_root,
    health_is_checked,
    commands_are_in_exec_form,
    downloads_leave_nothing_behind,
    nothing_is_fetched_by_add,
    folders_are_absolute,
    requirements_have_hashes,
)
