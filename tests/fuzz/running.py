"""Runs the fuzzer: input after input, until the time or the number is up."""

from __future__ import annotations

import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import Target, targets

#: Seconds of processor time that one input may take, however busy the machine is; the largest take some milliseconds.
SLOW_SECONDS = 1.0
#: Bytes that the process may take more than after its first tenth.
GROWTH_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Report:
    """What was tried and found."""

    inputs: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")
    growth_bytes: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [
            f"{name:24} {self.refused[name]:9,} inputs refused, {self.accepted[name]:9,} understood"
            for name in sorted(self.refused | self.accepted)
        ]
        rate = self.inputs / max(self.seconds, 0.001)
        lines.append(
            f"{self.inputs:,} inputs in {self.seconds:.0f} s ({rate:,.0f}/s) without an unexpected exception; slowest "
            f"{1000 * self.slowest[0]:.0f} ms ({self.slowest[1]}); memory grew by {self.growth_bytes / 1e6:.1f} MB"
        )
        return "\n".join(lines)


class Found(Exception):
    """An input that does what none may; `data` is it."""

    def __init__(self, target: Target, data: bytes, why: str) -> None:
        super().__init__(f"{target.name}: {why}\n  input ({len(data)} bytes): {data[:200].hex()}")
        self.data = data


def run(seed: int, *, seconds: float = float("inf"), inputs: int = 10**12) -> Report:
    """Feed every target in turn.

    Raises:
        Found: an exception that a target may not raise, an input that takes too long, or memory that grows.
    """
    report, mutator, all_targets = Report(), Mutator(seed), targets(seed)
    began, settled = time.monotonic(), 0
    while report.inputs < inputs and time.monotonic() - began < seconds:
        for target in all_targets:
            for _ in range(50):
                feed(target, mutator.draw(target.seeds, text=target.text), report)
        done = max(report.inputs / inputs, (time.monotonic() - began) / seconds)
        if not settled and done > 0.1:
            settled = resident_bytes()
    report.seconds = time.monotonic() - began
    report.growth_bytes = resident_bytes() - (settled or resident_bytes())
    if report.growth_bytes > GROWTH_BYTES:
        raise Found(all_targets[0], b"", f"memory grew by {report.growth_bytes} bytes over the run")
    return report


def feed(target: Target, data: bytes, report: Report) -> None:
    """Feed one input to one target."""
    began = time.thread_time()
    try:
        target.read(data)
        report.accepted[target.name] += 1
    except target.allowed:
        report.refused[target.name] += 1
    except Exception as error:
        raise Found(target, data, repr(error)) from error
    took = time.thread_time() - began
    report.inputs += 1
    report.slowest = max(report.slowest, (took, target.name))
    if took > SLOW_SECONDS:
        raise Found(target, data, f"took {took:.1f} s")


def resident_bytes() -> int:
    """Return the memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def limit_memory(limit_bytes: int) -> None:
    """Make an input that asks for more memory a `MemoryError`, which no target may raise."""
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, resource.RLIM_INFINITY))
