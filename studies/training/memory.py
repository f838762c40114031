"""Peak memory of one run within a process that makes many, and how a lack of it is told from other errors."""

from __future__ import annotations

import sys
from pathlib import Path

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Measures the peak from where it is made to :meth:`read`.

    On CUDA that is what PyTorch allocated on the device. Elsewhere it is the resident memory of the process, from
    the kernel's high-water mark, which Linux lets a process reset; where it does not, the peak is that of the whole
    process so far, and ``source`` says so.
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
        """The peak so far, in bytes; 0 where the platform does not say."""
        if self.source.startswith("cuda"):
            import torch

            return int(torch.cuda.max_memory_allocated())
        if _STATUS.exists():
            for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return _peak_by_getrusage()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a device or on the host."""
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
