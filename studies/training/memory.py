"""Peak memory of one run in a process that makes several, and recognition of out-of-memory errors."""

from __future__ import annotations

import sys
from pathlib import Path

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Measures the peak between construction and :meth:`read`.

    On CUDA this is the memory that PyTorch allocated on the device. Elsewhere it is the resident memory of the process,
    from the kernel's high-water mark, which Linux lets a process reset; where that fails, it is the peak since the
    process started, and ``source`` says so.
    """

    def __init__(self, cuda: bool) -> None:
        if cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
            self.source = "cuda: max_memory_allocated"
        elif _reset_high_water_mark():
            self.source = "process: VmHWM, reset at the start of the run"
        else:
            self.source = "process: peak since it started"

    def read(self) -> int:
        """Returns the peak so far in bytes; 0 if the platform does not report it."""
        if self.source.startswith("cuda"):
            import torch

            return int(torch.cuda.max_memory_allocated())
        if _STATUS.exists():
            for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return _peak_by_getrusage()


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error reports a lack of memory, on a device or on the host."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error).lower() for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


def _reset_high_water_mark() -> bool:
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peak_by_getrusage() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
