"""What a worker is given: threads, plugins, and nothing of the process that started it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import fakes
import pytest
import torch

from lrlora.bases import BASES, ShiftedBasis
from lrlora.studies.execution.executor import Died, Ended, Event, RunCell, Step
from lrlora.studies.execution.local import LocalExecutor
from lrlora.studies.spec.cells import expand_cells

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.timeout(300)]


def events_of(folder: Path, run_cell: RunCell, threads: int = 1) -> Iterator[Event]:
    """The events of one cell."""
    executor = LocalExecutor(folder / "work", folder / "logs", threads=threads, run_cell=run_cell)
    try:
        handle = executor.submit(expand_cells(fakes.study(1))[0])
        while True:
            for _, event in executor.events(1.0):
                yield event
                if isinstance(event, (Ended, Died)):
                    executor.release(handle)
                    return
    finally:
        executor.close()


IN_A_FILE = """
from lrlora.bases import BASES
from lrlora.bases.gaussian import Gaussian

@BASES.register("of_a_file")
class Mine(Gaussian): pass
"""


def test_what_is_registered_by_value_or_in_a_file_reaches_the_worker(
    tmp_path: Path, forgetting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    @BASES.register("of_a_function")
    class OfAFunction(ShiftedBasis):
        def kernel(self, u: torch.Tensor) -> torch.Tensor:
            return torch.exp(-u * u)

    from lrlora.registry import load_plugin

    (tmp_path / "mine.py").write_text(IN_A_FILE)
    load_plugin(tmp_path / "mine.py")
    names = ("of_a_function", "of_a_file", "gaussian")
    *_, last = events_of(tmp_path, partial(fakes.look_up, names=names))
    assert isinstance(last, Ended)
    assert last.record["reason"] is None, last.record["reason"]
    assert last.record["metrics"]["accuracy"] == 3.0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_cell_has_the_threads_it_is_given_and_its_output_goes_to_its_log(tmp_path: Path, threads: int) -> None:
    first, *steps, last = events_of(tmp_path, fakes.count_threads, threads)
    assert isinstance(last, Ended)
    assert last.record["metrics"] == {"accuracy": threads}, last.record["reason"]
    assert steps == [Step(1, {"train/loss": 0.5})]
    (log,) = (tmp_path / "logs").iterdir()
    assert log.read_text() == "a word of the method\n"
    assert not (tmp_path / "work").exists()
    assert type(first).__name__ == "Started"
