"""Whatever the folder of a saved adapter holds, it is inspected or refused in one line, and never with a traceback.

``nox -s fuzz`` runs each test with 100,000 inputs; the number is that of ``LRLORA_FUZZ_EXAMPLES``.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save

from lrlora import LRLoraConfig
from lrlora.export.errors import ExportError
from lrlora.registry import UnknownNameError
from lrlora.studies.inspection import inspect_adapter, open_adapter
from lrlora.studies.inspection.tables import layer_table, summary_table

FUZZED = settings(
    max_examples=int(os.environ.get("LRLORA_FUZZ_EXAMPLES", "40")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
METHODS = ("lrlora", "lora")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, bytes]]:
    """Configuration and weights of an adapter of each method on two layers."""
    found = {}
    for name in METHODS:
        model = torch.nn.ModuleDict({"query": torch.nn.Linear(4, 3), "dense": torch.nn.Linear(3, 2)})
        options: dict[str, Any] = {"r": 2, "target_modules": ["query", "dense"]}
        config = LoraConfig(**options) if name == "lora" else LRLoraConfig(**options, num_grid_points=3)
        folder = tmp_path_factory.mktemp(name)
        get_peft_model(model, config).save_pretrained(str(folder))
        found[name] = ((folder / CONFIG).read_text("utf-8"), (folder / WEIGHTS).read_bytes())
    return found


def inspect_or_line(folder: Path) -> None:
    """Inspect an adapter as the command line does; an error is one line that names what is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fields that are left out; the adapter is read all the same
        try:
            found = inspect_adapter(open_adapter(folder), folder)
            json.dumps(found.as_json())
            layer_table(found), summary_table(found)
        except (ExportError, UnknownNameError) as error:
            message = str(error).strip()
            assert message, "an error without a message"
            assert "\n" not in message


def write(folder: Path, config: str | bytes, weights: bytes) -> Path:
    (folder / CONFIG).write_bytes(config if isinstance(config, bytes) else config.encode("utf-8", "surrogatepass"))
    (folder / WEIGHTS).write_bytes(weights)
    return folder


WORDS = [
    "",
    "sinc",
    "bspline:2",
    "auto",
    "query",
    "LORA",
    "LRLORA",
    "VERA",
    "IA3",
    "small:0.1",
    "all",
    "../x",
    "é",
    "[",
    "*",
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.sampled_from([2**31, 2**64, -(2**70)])
    | st.floats(width=32)
    | st.sampled_from(WORDS)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=5,
)
FIELDS = sorted({*LRLoraConfig(r=2).to_dict(), *LoraConfig(r=2).to_dict(), "unknown", "lrlora_version"})


@pytest.mark.parametrize("name", ["lrlora"])  # the fields of LoRA are read by PEFT alone
@FUZZED
@given(
    changed=st.dictionaries(st.sampled_from(FIELDS), values, max_size=2),
    dropped=st.lists(st.sampled_from(FIELDS), max_size=2),
)
def test_any_value_in_the_configuration(
    tmp_path: Path, saved: dict[str, tuple[str, bytes]], name: str, changed: dict[str, Any], dropped: list[str]
) -> None:
    config, weights = saved[name]
    fields = {key: value for key, value in json.loads(config).items() if key not in dropped} | changed
    inspect_or_line(write(tmp_path, json.dumps(fields), weights))


@pytest.mark.parametrize("name", METHODS)
@FUZZED
@given(
    file=st.sampled_from([CONFIG, WEIGHTS]),
    at=st.integers(0, 2**16),
    piece=st.binary(max_size=4) | st.sampled_from([b'"', b"{", b"}", b"[", b",", b"null", b"\xff", b"\0" * 8]),
    cut=st.integers(0, 8) | st.just(2**16),
)
def test_a_file_with_any_piece_replaced(
    tmp_path: Path, saved: dict[str, tuple[str, bytes]], name: str, file: str, at: int, piece: bytes, cut: int
) -> None:
    files = dict(zip((CONFIG, WEIGHTS), (saved[name][0].encode(), saved[name][1]), strict=True))
    content = files[file]
    at %= len(content) + 1
    files[file] = content[:at] + piece + content[at + cut :]
    inspect_or_line(write(tmp_path, files[CONFIG], files[WEIGHTS]))


shapes = st.lists(st.integers(0, 4), max_size=3)
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool]


@pytest.mark.parametrize("name", METHODS)
@FUZZED
@given(data=st.data())
def test_any_tensors_as_weights(
    tmp_path: Path, saved: dict[str, tuple[str, bytes]], name: str, data: st.DataObject
) -> None:
    config, weights = saved[name]
    write(tmp_path, config, weights)
    state = dict(load_file(tmp_path / WEIGHTS))
    for key in data.draw(st.lists(st.sampled_from(sorted(state)), min_size=1, max_size=2, unique=True)):
        tensor = state.pop(key)
        match data.draw(st.sampled_from(["gone", "renamed", "shape", "dtype", "value", "size"])):
            case "renamed":
                old, new = data.draw(
                    st.sampled_from([("query", "key"), ("_A", "_B"), ("base_model.", ""), (".", "..")])
                )
                state[key.replace(old, new)] = tensor
            case "shape":
                state[key] = torch.ones(data.draw(shapes))
            case "dtype":
                state[key] = tensor.to(data.draw(st.sampled_from(DTYPES)))
            case "value":
                number = data.draw(st.sampled_from([float("nan"), float("inf"), 1e38, -1e38, 1e-45, 0.0]))
                state[key] = torch.full_like(tensor, number)
            case "size":
                state[key] = torch.cat([tensor, tensor], dim=0) if tensor.ndim else tensor.reshape(1)
    (tmp_path / WEIGHTS).write_bytes(save({key: tensor.contiguous() for key, tensor in state.items()}))
    inspect_or_line(tmp_path)
