"""Another busy process beside what is measured."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

SIZE = 512


@contextlib.contextmanager
def busy(wanted: bool) -> Iterator[subprocess.Popen[bytes] | None]:
    """Runs a process that multiplies matrices on all cores for as long as the block lasts; gives it, or None.

    Args:
        wanted: Whether it is to run at all.
    """
    if not wanted:
        yield None
        return
    process = subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it is at work from here on
        yield process
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    """Multiplies until the parent ends it, or is gone itself."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    matrix = torch.rand(SIZE, SIZE)
    parent = os.getppid()
    print("ready", flush=True)
    while os.getppid() == parent:
        matrix @ matrix


if __name__ == "__main__":
    main()
