"""``lrlora export`` on the real MiniLM: trained for a few steps; what it writes is loaded without lrlora."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from lrlora import LRLoraConfig, parameter_groups
from lrlora.studies.cli.main import run
from lrlora.studies.models.backbones import load_model, load_tokenizer

pytestmark = pytest.mark.e2e

TEXTS = ["a headline about nothing", "area man wins marathon he did not enter"]


def trained(model: Any, steps: int) -> Any:
    """Some steps on two headlines, at a rate at which φ bends."""
    torch.manual_seed(0)
    batch = load_tokenizer("minilm")(TEXTS, padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=5e-3))
    for _ in range(steps):
        model(**batch, labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """An adapter on MiniLM with three labels, and what it computes."""
    torch.manual_seed(0)
    base = load_model("minilm", ("no", "yes", "perhaps"))
    model = trained(get_peft_model(base, LRLoraConfig(r=4, placement="attention", task_type="SEQ_CLS")), 4)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    with torch.no_grad():
        return folder, model(**load_tokenizer("minilm")(TEXTS, padding=True, return_tensors="pt")).logits


def served(code: str) -> torch.Tensor:
    """What a model computes in a process that cannot import lrlora. The code makes ``model`` and ``tokenizer``."""
    whole = f"""
import sys, json, torch
sys.modules["lrlora"] = None
{code}
with torch.no_grad():
    print(json.dumps(model.eval()(**tokenizer({TEXTS!r}, padding=True, return_tensors="pt")).logits.tolist()))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", whole], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return torch.tensor(json.loads(done.stdout.splitlines()[-1]))


def test_merged(adapter: tuple[Path, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, expected = adapter
    assert run(["export", "merged", str(folder), str(tmp_path / "out"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert "tokenizer.json" in printed["tokenizer"]
    found = served(
        f"""
sys.modules["peft"] = None
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained({str(tmp_path / "out")!r})
tokenizer = AutoTokenizer.from_pretrained({str(tmp_path / "out")!r})
"""
    )
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_lora(adapter: tuple[Path, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, expected = adapter
    differences = {}
    for rank in (4, 64):
        out = tmp_path / f"rank-{rank}"
        assert run(["export", "lora", str(folder), str(out), "--rank", str(rank)]) == 0
        printed = capsys.readouterr()
        assert printed.err.count("\n") == 24, "a line per layer"
        assert printed.out.startswith(f"Rank {rank}: a relative error of")
        table = json.loads((out / "truncation.json").read_text())
        found = served(
            f"""
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoTokenizer
model = AutoPeftModelForSequenceClassification.from_pretrained({str(out)!r}, num_labels=3)
tokenizer = AutoTokenizer.from_pretrained(model.peft_config["default"].base_model_name_or_path)
"""
        )
        differences[rank] = (table["summary"]["error"], float((found - expected).abs().max()))
    assert differences[64][0] < differences[4][0]
    assert differences[64][1] < 1e-2

    assert run(["export", "lora", str(folder), str(tmp_path / "error"), "--error", "0.05", "--json"]) == 0
    printed = capsys.readouterr()
    assert not printed.err
    found = json.loads(printed.out)
    assert found["summary"]["error"] <= 0.05 + 1e-6
    assert [layer["error"] <= 0.05 + 1e-6 for layer in found["layers"]] == [True] * 24


def test_from_lora_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    base = load_model("minilm", ("no", "yes"))
    config = LoraConfig(r=4, lora_alpha=8, use_rslora=True, target_modules=["query", "value"], task_type="SEQ_CLS")
    lora = trained(get_peft_model(base, config), 3)
    lora.save_pretrained(tmp_path / "lora")
    batch = load_tokenizer("minilm")(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = lora(**batch).logits

    arguments = ["export", "from-lora", "lora", "out", "--basis", "gaussian", "--set", "num_grid_points=20"]
    arguments[2:4] = [str(tmp_path / "lora"), str(tmp_path / "out")]
    assert run(arguments) == 0
    assert "LR-LoRA adapter of rank 4" in capsys.readouterr().out
    model = PeftModel.from_pretrained(load_model("minilm", ("no", "yes")), str(tmp_path / "out"), is_trainable=True)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(**batch).logits, expected, rtol=1e-3, atol=1e-4)
    model(**batch, labels=torch.tensor([0, 1])).loss.backward()
    gradients = [p.grad for name, p in model.named_parameters() if "lrlora_amplitude" in name]
    assert len(gradients) == 12
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)

    assert run(["export", "lora", str(tmp_path / "out"), str(tmp_path / "back")]) == 0
    assert capsys.readouterr().out.startswith("Exact")
    again = PeftModel.from_pretrained(load_model("minilm", ("no", "yes")), str(tmp_path / "back")).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits, expected, rtol=1e-3, atol=1e-4)


BAD_INPUT = [
    pytest.param(["merged", "gone", "out"], "gone: no such folder", id="no adapter"),
    pytest.param(["merged", "adaptr", "out"], "did you mean adapter?", id="misspelt adapter"),
    pytest.param(["merged", "full", "out"], "full holds no adapter (no adapter_config.json)", id="not an adapter"),
    pytest.param(["merged", "lora", "out"], "is an adapter of the method LORA", id="another method"),
    pytest.param(["from-lora", "adapter", "out"], "expected LoRA", id="not LoRA"),
    pytest.param(["lora", "pickle", "out"], "is a pickle, which is never loaded", id="pickle"),
    pytest.param(["lora", "adapter", "full"], "full is not empty", id="full"),
    pytest.param(["lora", "adapter", "full", "--force"], "neither a model nor an adapter", id="full of something else"),
    pytest.param(["merged", "adapter", "adapter", "--force"], "which it is made from", id="onto itself"),
    pytest.param(["lora", "adapter", "out", "--rank", "0"], "rank must be an integer >= 1, got 0", id="rank"),
    pytest.param(["lora", "adapter", "out", "--rank", "2", "--error", "0.1"], "not both", id="both"),
    pytest.param(["lora", "adapter", "out", "--error", "2"], "error must be relative", id="error"),
    pytest.param(["merged", "adapter", "out", "--base", "minilmm"], "did you mean 'minilm'?", id="base"),
    pytest.param(["merged", "adapter", "out", "--base", "./gone"], "no such folder", id="base folder"),
    pytest.param(["from-lora", "lora", "out", "--basis", "gausian"], "did you mean 'gaussian'?", id="basis"),
    pytest.param(["from-lora", "lora", "out", "--set", "grdi=uniform"], "did you mean 'grid'?", id="field"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD_INPUT)
def test_bad_input_is_one_line_and_status_2_and_writes_nothing(
    arguments: list[str],
    says: str,
    adapter: tuple[Path, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adapter").symlink_to(adapter[0])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("mine")
    linear = nn.Sequential(nn.Linear(4, 4))
    get_peft_model(linear, LoraConfig(target_modules=["0"])).save_pretrained(tmp_path / "lora")
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle" / "adapter_config.json").write_bytes((adapter[0] / "adapter_config.json").read_bytes())
    (tmp_path / "pickle" / "adapter_model.bin").write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    assert run(["export", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("lrlora: error: ")
    assert says in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("arguments", [[], ["merged"], ["lora"], ["from-lora"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from lrlora.studies.cli.main import run; status = run(sys.argv[1:]);"
        "heavy = {'torch', 'peft', 'transformers', 'mlflow', 'optuna'} & set(sys.modules);"
        "sys.exit(f'imports {heavy}' if heavy else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "export", *arguments, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
