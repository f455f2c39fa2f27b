"""The tokens of a data directory: one JSON file, replaced whole, without any secret in it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from disco.core.access import Token
from disco.errors import StorageError
from disco.storage.files import make_directory, refusals, replacing

FILE = "tokens.json"


class TokenFile:
    """What is kept of tokens. The command line writes it while a server reads it."""

    def __init__(self, data_dir: Path) -> None:
        """Name the file; there need be none yet."""
        self.path = data_dir / FILE
        self._seen: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()

    def read(self) -> tuple[Token, ...]:
        """Return every token; the file is parsed again only when it has changed.

        Raises:
            StorageError: it cannot be read, or is damaged.
        """
        with refusals(self.path, "read"):
            try:
                found = self.path.stat()
            except FileNotFoundError:
                self._seen, self._tokens = None, ()
                return ()
            # Each change makes a new file, so its number differs even within one tick of the clock.
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._tokens = self._parse(self.path.read_bytes())
                self._seen = seen
        return self._tokens

    @contextmanager
    def changing(self) -> Iterator[list[Token]]:
        """Hand out a list of all tokens, and keep what it holds when the block ends.

        Raises:
            StorageError: the file cannot be read or written; it is as it was.
        """
        make_directory(self.path.parent)
        lock = self.path.with_suffix(".lock")
        with refusals(lock, "opened"):
            holder = open(lock, "ab")  # noqa: SIM115  # closed below, outside `refusals`
        with holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            tokens = list(self.read())
            yield tokens
            self._write(tokens)

    def _write(self, tokens: Sequence[Token]) -> None:
        document = {"version": 1, "tokens": [token.document() for token in tokens]}
        with replacing(self.path) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(json.dumps(document, indent=2).encode() + b"\n")

    def _parse(self, content: bytes) -> tuple[Token, ...]:
        try:
            document = json.loads(content)
            if document["version"] != 1:
                raise StorageError(f"{self.path} was made by a newer Disco; use that version")
            return tuple(map(Token.from_document, document["tokens"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(
                f"{self.path} is damaged: restore it, or remove it and make new tokens"
            ) from error
