"""Others find the parts of an adapter by ``.default.`` in the names of parameters, and the base by the prefix.

TRL makes the reference model of DPO, KTO, GRPO and RLOO that way (trl #1193, #4723): it adds an adapter "ref" and
copies every parameter whose name has ``.default.`` in it.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from datasets import Dataset
from peft import PeftModel
from small import adapted, llama, mlp, off, rows, run, trained, with_lora
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers.pytorch_utils import Conv1D

from lrlora import LRLoraLayer

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "everything learned": {"grid": "learned"},
    "shared": {"sharing": "all", "grid": "learned"},
    "random grid": {"grid": "random"},
    "random and fixed": {"amplitude_init": "random", "learn_amplitude": False, "learn_bandwidth": False},
    "rank 0 somewhere": {"rank_pattern": {"head": 0}},
}


def add_reference(model: PeftModel) -> None:
    """What TRL's trainers do with an adapter that is there already, line by line."""
    model.add_adapter("ref", model.peft_config["default"])
    for name, parameter in model.named_parameters():
        if ".default." in name:
            model.get_parameter(name.replace(".default.", ".ref.")).data.copy_(parameter.data)


class Kinds(nn.Module):
    """A layer of each kind that can be adapted."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(12, 8)
        self.conv = nn.Conv1d(8, 6, 3, padding=1)
        self.transposed = Conv1D(6, 6)
        self.lin = nn.Linear(6, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.lin(self.transposed(self.conv(self.emb(tokens).mT).mT.contiguous()))


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_copying_by_name_copies_the_adapter(fields: dict[str, Any]) -> None:
    model = adapted(**fields)
    expected = run(model, rows())
    torch.manual_seed(7)
    add_reference(model)
    model.set_adapter("ref")
    assert torch.equal(run(model, rows()), expected)


def test_copying_by_name_copies_every_kind_of_layer() -> None:
    torch.manual_seed(0)
    model = adapted(Kinds(), target_modules=["emb", "conv", "transposed", "lin"])
    tokens = torch.arange(10).view(2, 5)
    expected = run(model, tokens)
    add_reference(model)
    model.set_adapter("ref")
    assert torch.equal(run(model, tokens), expected)


def test_every_trained_parameter_has_the_name_of_its_adapter_between_dots() -> None:
    for name in trained(adapted(grid="learned", adapter_name="mine")):
        assert name.count(".mine.") == 1, name


def test_the_base_is_what_has_no_prefix() -> None:
    """TRL hands merged weights to vLLM under the names that are left after this rule."""
    base, model = mlp(), adapted()
    merged = copy.deepcopy(model).merge_and_unload().state_dict()
    model.merge_adapter()
    left = {
        found: parameter
        for name, parameter in model.named_parameters()
        if model.prefix not in (found := name.removeprefix("base_model.model.").replace(".base_layer", ""))
    }
    assert left.keys() == base.state_dict().keys()
    assert all(torch.equal(parameter, merged[name]) for name, parameter in left.items())


# -- TRL's trainers themselves --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> hf.PreTrainedTokenizerBase:
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(60))]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def language_model(method: str) -> PeftModel:
    """With an adapter as if trained before, which is to be trained further."""
    make, fields = (adapted, {}) if method == "lrlora" else (with_lora, {})
    return make(llama(), target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM", **fields).train()


def trainer_of(kind: str, model: nn.Module, tokenizer: hf.PreTrainedTokenizerBase, folder: Path) -> Any:
    import trl

    texts = [(f"w{i} w{i + 1}", f"w{i + 2} w{i + 3}", f"w{i + 20} w{i + 9}") for i in range(8)]
    data: dict[str, list[Any]] = {"prompt": [prompt for prompt, _, _ in texts]}
    more: dict[str, Any] = {}
    options: dict[str, Any] = {"per_device_train_batch_size": 4, "beta": 0.1}
    if kind == "DPO":
        data |= {"chosen": [good for _, good, _ in texts], "rejected": [bad for _, _, bad in texts]}
    elif kind == "KTO":
        data |= {"completion": [good for _, good, _ in texts], "label": [i % 2 == 0 for i in range(8)]}
    else:
        more["reward_funcs"] = lambda completions, **_: [float(len(c)) for c in completions]
        options["num_generations"] = 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TRL, about itself
        args = getattr(trl, f"{kind}Config")(
            output_dir=str(folder),
            max_steps=2,
            learning_rate=1e-2,
            report_to="none",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            dataloader_pin_memory=False,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            **options,
        )
        return getattr(trl, f"{kind}Trainer")(
            model=model, args=args, train_dataset=Dataset.from_dict(data), processing_class=tokenizer, **more
        )


@pytest.mark.parametrize("method", ["lora", "lrlora"])
def test_dpo_starts_at_the_loss_of_an_unchanged_policy(
    method: str, tokenizer: hf.PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = language_model(method)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if ".default" in name}
    trainer = trainer_of("DPO", model, tokenizer, tmp_path)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(0.6931, abs=1e-4)
    assert losses[1] != pytest.approx(losses[0], abs=1e-5)
    # The policy moved and the reference stayed.
    after = dict(model.named_parameters())
    assert any(not torch.equal(after[name], value) for name, value in before.items())
    assert all(torch.equal(after[name.replace(".default", ".ref")], value) for name, value in before.items())


@pytest.mark.parametrize("kind", ["KTO", "GRPO", "RLOO"])
def test_the_reference_of_the_others_is_the_adapter_too(
    kind: str, tokenizer: hf.PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = trainer_of(kind, language_model("lrlora"), tokenizer, tmp_path).model
    ids = torch.arange(3, 15).view(2, 6)
    model.eval()
    expected = run(model, ids)
    model.set_adapter("ref")
    assert off(run(model, ids), expected) == 0
    with model.disable_adapter():
        assert off(run(model, ids), expected) > 1e-3
    assert all("ref" in layer.lrlora_A for layer in model.modules() if isinstance(layer, LRLoraLayer))
