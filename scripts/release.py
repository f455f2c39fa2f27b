"""Checks a checkout before it is released, and builds what is published.

Everything that is wrong is told at once:

    version      pyproject.toml has X.Y.Z, and the tag vX.Y.Z does not exist
    changelog    its newest heading is "## X.Y.Z - YYYY-MM-DD", with no entries left under "Unreleased"
    tree         nothing is changed or new
    deploy       files that name the image name this version
    dist         one wheel and one sdist, whose metadata an index accepts
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from datetime import date
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

#: PEP 440 without epochs and local parts.
VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
HEADING = re.compile(r"^## (?P<version>\S+)(?: - (?P<date>\S+))?\s*$", re.MULTILINE)
#: Without these an index refuses, or shows nothing.
REQUIRED = ("Name", "Version", "Summary", "Requires-Python", "License-Expression", "Description-Content-Type")


def version_of(root: Path) -> str:
    """Return the version in pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["version"])


def check(root: Path, version: str) -> Iterator[str]:
    """Yield everything that is wrong before anything is built."""
    if not VERSION.fullmatch(version):
        yield f"pyproject.toml: {version} is no version such as 1.2.3 or 1.2.3rc1"
    yield from check_changelog((root / "CHANGELOG.md").read_text("utf-8"), version)
    if git(root, "tag", "--list", f"v{version}"):
        yield f"git: the tag v{version} exists already; raise the version in pyproject.toml"
    changed = git(root, "status", "--porcelain")
    if changed:
        yield f"git: {len(changed.splitlines())} files are changed or new; commit them first"
    yield from check_deployments(root, version)


def check_changelog(text: str, version: str) -> Iterator[str]:
    """Yield what is wrong with the changelog."""
    headings = list(HEADING.finditer(text))
    if headings and headings[0]["version"] == "Unreleased":
        end = headings[1].start() if len(headings) > 1 else len(text)
        if text[headings[0].end() : end].strip():
            yield f'CHANGELOG.md: there are entries under "Unreleased"; put them under "## {version} - {date.today()}"'
        headings = headings[1:]
    if not headings or headings[0]["version"] != version:
        newest = headings[0]["version"] if headings else "none"
        yield f"CHANGELOG.md: the newest version is {newest}, not {version}"
        return
    try:
        date.fromisoformat(headings[0]["date"] or "")
    except ValueError:
        yield f'CHANGELOG.md: the heading of {version} must end in a date, as in "## {version} - {date.today()}"'


def check_deployments(root: Path, version: str) -> Iterator[str]:
    """Yield files that name another version of the image."""
    for path in sorted((root / "deploy").glob("*.yaml")):
        for named in sorted(
            set(re.findall(r"image: disco-server:(\S+)", path.read_text("utf-8"))) - {version}
        ):
            yield f"{path.relative_to(root)}: it names disco-server:{named}, not {version}"


def build(root: Path) -> list[Path]:
    """Build the wheel and the sdist into an empty dist/."""
    dist = root / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(dist)], cwd=root, check=True)
    return sorted(path for path in dist.iterdir() if not path.name.startswith("."))


def check_distributions(paths: list[Path], version: str) -> Iterator[str]:
    """Yield what an index, or a user, would find wrong with what was built."""
    if sorted(path.suffix for path in paths) != [".gz", ".whl"]:
        yield f"dist: expected one wheel and one sdist, found {[path.name for path in paths]}"
    for path in paths:
        metadata, names = read(path)
        missing = [name for name in REQUIRED if not metadata[name]]
        if missing:
            yield f"{path.name}: its metadata lacks {', '.join(missing)}"
        if metadata["Version"] != version:
            yield f"{path.name}: its version is {metadata['Version']}, not {version}"
        if not str(metadata.get_payload()).strip():
            yield f"{path.name}: it has no description"
        if not any(name.endswith("disco/py.typed") for name in names):
            yield f"{path.name}: disco/py.typed is missing"


def read(path: Path) -> tuple[Message, list[str]]:
    """Return the metadata of a distribution, and the names of its files."""
    if path.suffix == ".whl":
        with ZipFile(path) as wheel:
            names = wheel.namelist()
            (where,) = (name for name in names if name.endswith(".dist-info/METADATA"))
            return HeaderParser().parsestr(wheel.read(where).decode()), names
    with tarfile.open(path) as sdist:
        names = sdist.getnames()
        (where,) = (name for name in names if name.count("/") == 1 and name.endswith("/PKG-INFO"))
        file = sdist.extractfile(where)
        return HeaderParser().parsestr(file.read().decode() if file else ""), names


def git(root: Path, *arguments: str) -> str:
    """Run git, and return what it says."""
    return subprocess.run(
        ["git", *arguments], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


def main(arguments: list[str], root: Path) -> int:
    """Check, build, check again, and say what is left to do."""
    parser = argparse.ArgumentParser(description="Check and build a release.")
    parser.add_argument("--tag", action="store_true", help="make the tag when all is well")
    tag = parser.parse_args(arguments).tag
    version = version_of(root)
    problems = list(check(root, version))
    if not problems:
        built = build(root)
        problems = list(check_distributions(built, version))
    if problems:
        sys.stderr.write("".join(f"{problem}\n" for problem in problems))
        return 1
    if tag:
        git(root, "tag", "--annotate", f"v{version}", "--message", f"Disco {version}")
    tagging = "" if tag else f"  git tag --annotate v{version} --message 'Disco {version}'\n"
    sys.stdout.write(
        f"Disco {version} is ready: {', '.join(path.name for path in built)}\nLeft to do:\n{tagging}"
        f"  git push origin v{version}\n  python -m twine upload dist/*\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], Path(__file__).resolve().parents[1]))
