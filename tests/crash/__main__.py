"""``python -m tests.crash --minutes N``: kill a training server for so long, and say what was seen."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
from pathlib import Path

import trio

from tests.crash.killing import kill_for


def main() -> None:
    """Run, and print the report; a failed check ends it with its traceback."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the moments of death")
    given = parser.parse_args()
    logging.getLogger("disco").setLevel(
        logging.CRITICAL
    )  # participants say each time that the server is gone
    logging.getLogger("trio-websocket").setLevel(logging.CRITICAL)
    sys.stdout.write(f"seed {given.seed}\n")
    with tempfile.TemporaryDirectory() as place:
        report = trio.run(kill_for, 60 * given.minutes, Path(place), given.seed)
    sys.stdout.write(f"{report}\n")


if __name__ == "__main__":
    main()
