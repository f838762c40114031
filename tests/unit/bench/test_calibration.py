"""Every constant of the cost model has its measurement."""

import json
from dataclasses import fields

import pytest

from lrlora.engines.costs import Costs
from lrlora.studies.cli.main import run


def test_every_constant_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--shape", "48", "32", "--tokens", "8", "--repeats", "2"]
    assert run(["bench", "costs", *sizes, "--compile", "never", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {field.name for field in fields(Costs)}
    for name, cost in found.items():
        assert cost["used"] == getattr(Costs(), name)
        if name in ("product", "forward", "thin"):
            assert cost["measured"] >= 0
