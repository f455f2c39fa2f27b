"""``python -m tests.fuzz --minutes N``: feed everything that reads bytes from outside, and say what was found."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from tests.fuzz.running import Found, limit_memory, run


def main() -> None:
    """Run, and print the report; a find is written to a file, and ends the run with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = parser.parse_args()
    sys.stdout.write(f"seed {given.seed}\n")
    limit_memory(8 << 30)
    try:
        report = run(given.seed, seconds=60 * given.minutes)
    except Found as found:
        place = Path(f"found-{given.seed}.bin")
        place.write_bytes(found.data)
        sys.exit(f"{found}\n  kept in {place}")
    sys.stdout.write(f"{report}\n")


if __name__ == "__main__":
    main()
