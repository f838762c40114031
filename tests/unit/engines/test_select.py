"""The cost model: fixed constants, or those of a file that the user names."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from lrlora.engines import select
from lrlora.engines.calibration import calibrate

CPU = torch.device("cpu")


def test_the_constants_are_fixed_unless_a_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(select.COSTS_FILE, raising=False)
    assert select.costs_of(CPU) == select.COSTS["cpu"]
    assert select.described_costs() == {}
    mine = dataclasses.replace(select.COSTS["cpu"], call=12.0)
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"cpu": dataclasses.asdict(mine)}))
    monkeypatch.setenv(select.COSTS_FILE, str(file))
    assert select.costs_of(CPU) == mine
    assert select.costs_of(torch.device("cuda")) == select.COSTS["cuda"]
    assert select.described_costs() == {"cpu": dataclasses.asdict(mine)}


@pytest.mark.parametrize("text", ["", "[]", '{"cpu": {"speed": 1}}', '{"cpu": 3}'])
def test_a_file_without_constants_is_refused_in_one_line(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "costs.json"
    file.write_text(text)
    monkeypatch.setenv(select.COSTS_FILE, str(file))
    with pytest.raises(ValueError, match=r"LRLORA_COSTS=.*costs\.json: no constants of the cost model") as caught:
        select.costs_of(CPU)
    assert "\n" not in str(caught.value)


def test_costs_can_be_measured() -> None:
    measured = dataclasses.asdict(calibrate("cpu"))
    assert all(value >= 0 for value in measured.values())
    assert measured["product"] > 0
    assert measured["table_entry"] > 0
