"""Adapters that were saved by earlier versions load, and compute what they computed.

``data/adapter_0.1.0`` was trained and saved by 0.1.0, with its logits: a Llama whose weights are a formula, a learned
grid, shared amplitudes, an embedding among the targets.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers as hf
from peft import PeftModel, inject_adapter_in_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from small import LLAMA, adapted, mlp, off, rows, run
from torch import Tensor, nn

from lrlora import LRLoraConfig

OLD = Path(__file__).parent / "data" / "adapter_0.1.0"
WEIGHTS = "adapter_model.safetensors"


def base() -> hf.LlamaForCausalLM:
    """The model that the adapter was trained on; its weights do not depend on how models are initialised."""
    model = hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA)).eval()
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            values = 0.2 * torch.sin(1.0 + i + 1.7 * torch.arange(parameter.numel(), dtype=torch.float64))
            parameter.copy_(values.view(parameter.shape))
    return model


def injected(folder: Path) -> nn.Module:
    model = inject_adapter_in_model(LRLoraConfig.from_pretrained(folder), base())
    set_peft_model_state_dict(model, load_file(folder / WEIGHTS))
    return model.eval()


def second(folder: Path) -> nn.Module:
    model = adapted(base(), target_modules=["q_proj"])
    model.load_adapter(folder, "old")
    model.set_adapter("old")
    return model.eval()


def by_transformers(folder: Path) -> nn.Module:
    model = base()
    model.load_adapter(str(folder), "old")
    return model.eval()


LOADING: dict[str, Callable[[Path], nn.Module]] = {
    "from_pretrained": lambda folder: PeftModel.from_pretrained(base(), folder),
    "low_cpu_mem_usage": lambda folder: PeftModel.from_pretrained(base(), folder, low_cpu_mem_usage=True),
    "load_adapter": second,
    "injected": injected,
    "transformers": by_transformers,
}


@pytest.mark.parametrize("way", LOADING)
def test_an_adapter_of_0_1_0_computes_what_it_did(way: str) -> None:
    kept = load_file(OLD / "logits.safetensors")
    assert off(run(LOADING[way](OLD), kept["input_ids"]), kept["logits"]) < 1e-5


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning")
def test_saved_anew_it_is_a_file_of_today(tmp_path: Path) -> None:
    model = PeftModel.from_pretrained(base(), OLD)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    old, new = load_file(OLD / WEIGHTS), load_file(tmp_path / WEIGHTS)
    assert len([key for key in new if not key.endswith("_extra_state")]) == len(old)
    assert (
        off(
            run(PeftModel.from_pretrained(base(), tmp_path), torch.arange(3, 9)[None]),
            run(model, torch.arange(3, 9)[None]),
        )
        == 0
    )


def test_a_file_of_0_1_0_that_lacks_something_is_refused(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "cut")
    state = load_file(OLD / WEIGHTS)
    del state["base_model.model.model.layers.1.self_attn.q_proj.lrlora_B"]
    save_file(state, tmp_path / "cut" / WEIGHTS)
    with pytest.raises(ValueError, match=r"layers\.1\.self_attn\.q_proj\.lrlora_B\S* is not in the file"):
        PeftModel.from_pretrained(base(), tmp_path / "cut")


def old_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    ends = (".lrlora_A.weight", ".lrlora_B.weight")
    return {key.removesuffix(".weight") if key.endswith(ends) else key: value for key, value in state.items()}


@pytest.mark.parametrize("keys", [old_keys, dict], ids=["0.1.0", "since"])
def test_both_forms_of_keys_load(keys: Callable[[dict[str, Tensor]], dict[str, Tensor]], tmp_path: Path) -> None:
    """Also where a module of the base has a name like a part of an adapter."""
    torch.manual_seed(0)
    bases = [nn.ModuleDict({"lrlora_A": mlp(), "x": mlp()}) for _ in range(2)]

    class Both(nn.Module):
        def __init__(self, parts: nn.ModuleDict) -> None:
            super().__init__()
            self.parts = parts

        def forward(self, x: Tensor) -> Tensor:
            return self.parts["lrlora_A"](x) + self.parts["x"](x)

    model = adapted(Both(bases[0]).eval(), sharing="all")
    model.save_pretrained(tmp_path)
    save_file(keys(load_file(tmp_path / WEIGHTS)), tmp_path / WEIGHTS)
    loaded = PeftModel.from_pretrained(Both(bases[1]).eval(), tmp_path).eval()
    assert torch.equal(run(loaded, rows()), run(model, rows()))
