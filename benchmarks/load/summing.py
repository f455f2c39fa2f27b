"""Rounds without end: ``python -m benchmarks.load.summing --port PORT --task NAME --participants 2 --parameters 10``.

Prints a line after the first round, and its seconds after each; runs until it is killed.
"""

from __future__ import annotations

import argparse

from benchmarks.load.participant import Participant, together, update_frame


def main() -> None:
    """Join a task that has had no round, and contribute."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.summing")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--participants", type=int, required=True)
    parser.add_argument("--parameters", type=int, required=True)
    options = parser.parse_args()
    people = [
        Participant(options.port, options.task, options.participants) for _ in range(options.participants)
    ]
    number = 0
    while True:
        seconds = together(people, update_frame(options.parameters, number))
        number += 1
        print(f"{seconds:.4f}", flush=True)


if __name__ == "__main__":
    main()
