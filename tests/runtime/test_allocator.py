from __future__ import annotations

import platform
import subprocess
import sys

import pytest

#: Page faults of filling a fresh 40 MB buffer for the third time, after the allocator was told what argv says.
PROGRAM = """
import resource, sys
import numpy as np
from disco.runtime.allocator import keep_large_buffers

if sys.argv[1] == "kept":
    assert keep_large_buffers(256 * 1024 * 1024)
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(40_000_000, np.uint8).fill(1)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")
def test_a_large_buffer_is_handed_out_again_with_its_pages() -> None:
    assert faults("kept") < 5 <= faults("fresh")
