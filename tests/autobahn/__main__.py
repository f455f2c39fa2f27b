"""Run the Autobahn test suite: ``python -m tests.autobahn [--http2] [cases …]``, e.g. ``… '6.*'``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from functools import partial

import trio

from tests.autobahn import suite


def main() -> int:
    """Print how many cases had which outcome, and those that did not pass; return 1 if there are any."""
    python = suite.find_python()
    if python is None:
        sys.stderr.write("The suite needs a Python 2.7, on the path or in pyenv; none was found.\n")
        return 2
    suite.install(python)
    start = time.perf_counter()
    named = [argument for argument in sys.argv[1:] if argument != "--http2"]
    cases = trio.run(partial(suite.run, python, named or suite.CASES, http2="--http2" in sys.argv))
    seconds = time.perf_counter() - start
    failed = [case for case in cases if not case.passed]
    for case in failed:
        sys.stdout.write(f"{case.name}: {case.behavior}, closing: {case.behavior_close}\n")
    counts = ", ".join(f"{count} {outcome}" for outcome, count in Counter(c.behavior for c in cases).items())
    sys.stdout.write(f"{len(cases)} cases in {seconds:.0f} s: {counts}; {len(failed)} did not pass\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
