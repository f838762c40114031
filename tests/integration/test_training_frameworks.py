"""Training code that others wrote trains it: transformers' Trainer, TRL's SFTTrainer, and DDP in two processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn

from lrlora import LRLoraConfig, parameter_groups, trainer_optimizer

Make = Callable[[str], nn.Module]
FIELDS: dict[str, Any] = {"r": 2, "task_type": "SEQ_CLS", "num_grid_points": 8}
BENT: dict[str, Any] = {**FIELDS, "init_weights": False, "input_scale": 20.0}
"""Away from the start, where φ is a straight line and every step moves the range."""


def rows(count: int = 16) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {"input_ids": torch.randint(3, 64, (7,), generator=generator), "labels": torch.tensor(i % 2)}
        for i in range(count)
    ]


def arguments(folder: Path, **fields: Any) -> hf.TrainingArguments:
    quiet = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "per_device_train_batch_size": 4}
    return hf.TrainingArguments(
        **{"output_dir": str(folder), "learning_rate": 1e-2, "max_steps": 6, "save_strategy": "no", **quiet, **fields}
    )


def trained(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


class TestTrainer:
    """transformers.Trainer."""

    def run(self, model: nn.Module, folder: Path, resume: str | None = None, **fields: Any) -> dict[str, Tensor]:
        args = arguments(folder, save_strategy="steps", save_steps=3, learning_rate=1e-3, **fields)
        trainer = hf.Trainer(
            model=model, args=args, train_dataset=rows(), optimizer_cls_and_kwargs=trainer_optimizer(args)
        )
        trainer.train(resume_from_checkpoint=resume)
        assert trainer.state.global_step == 6
        return trained(model)

    @pytest.mark.parametrize(
        "config",
        [
            LoraConfig(r=2, task_type="SEQ_CLS", target_modules=["query", "dense"]),
            LRLoraConfig(**BENT, engine="direct"),
            LRLoraConfig(**BENT),
            LRLoraConfig(**BENT, sharing="all", engine="tabulated"),
            LRLoraConfig(**BENT, lora_dropout=0.1, grid="learned"),
        ],
        ids=["lora", "direct", "auto", "tabulated, shared", "auto, dropout"],
    )
    def test_training_goes_on_from_a_checkpoint_bit_by_bit(self, config: Any, make_model: Make, tmp_path: Path) -> None:
        # A plan depends on the steps before; it is saved with the adapter.
        through = self.run(get_peft_model(make_model("bert"), config), tmp_path / "through")
        fresh = get_peft_model(make_model("bert"), config)
        start = trained(fresh)
        resumed = self.run(fresh, tmp_path / "resumed", resume=str(tmp_path / "through" / "checkpoint-3"))
        assert resumed.keys() == through.keys()
        for name, expected in through.items():
            assert not torch.equal(expected, start[name]), f"{name} did not train"
            off = (resumed[name] - expected).norm() / (expected - start[name]).norm()
            assert torch.equal(resumed[name], expected), f"{name} is off by {off:.1e} of its way"

    def test_the_best_model_is_loaded_at_the_end(self, make_model: Make, tmp_path: Path) -> None:
        model = get_peft_model(make_model("bert"), LRLoraConfig(**FIELDS, sharing="all"))
        scores = iter([0.1, 0.9, 0.2, 0.3])
        args = arguments(
            tmp_path,
            max_steps=4,
            eval_strategy="steps",
            save_strategy="steps",
            eval_steps=1,
            save_steps=1,
            load_best_model_at_end=True,
            metric_for_best_model="score",
        )
        trainer = hf.Trainer(
            model=model,
            args=args,
            train_dataset=rows(),
            eval_dataset=rows(4),
            compute_metrics=lambda _: {"score": next(scores)},
        )
        trainer.train()
        assert Path(trainer.state.best_model_checkpoint).name == "checkpoint-2"
        best, last = (load_file(tmp_path / f"checkpoint-{step}" / "adapter_model.safetensors") for step in (2, 4))
        found = get_peft_model_state_dict(model)
        assert found.keys() == best.keys()
        for name, tensor in best.items():
            assert torch.equal(found[name], tensor), name
            assert torch.equal(last[name], tensor) == name.endswith("grid.weight"), name
        loaded = PeftModel.from_pretrained(make_model("bert"), tmp_path / "checkpoint-2").eval()
        ids = rows(2)[0]["input_ids"][None]
        with torch.no_grad():
            assert torch.equal(model.eval()(ids).logits, loaded(ids).logits)

    def test_an_optimizer_over_parameter_groups_keeps_its_rates(self, make_model: Make, tmp_path: Path) -> None:
        model = get_peft_model(make_model("bert"), LRLoraConfig(**FIELDS, transfer_lr_scale=0.25))
        optimizer = torch.optim.AdamW(parameter_groups(model, lr=4e-3))
        trainer = hf.Trainer(
            model=model,
            args=arguments(tmp_path, lr_scheduler_type="constant"),
            train_dataset=rows(),
            optimizers=(optimizer, None),
        )
        trainer.train()
        assert [group["lr"] for group in optimizer.param_groups] == [4e-3, 1e-3]

    def test_the_optimizer_follows_the_arguments(self, make_model: Make, tmp_path: Path) -> None:
        model = get_peft_model(make_model("bert"), LRLoraConfig(**FIELDS, transfer_lr_scale=0.25))
        args = arguments(
            tmp_path, optim="sgd", learning_rate=1e-2, weight_decay=0.1, lr_scheduler_type="constant", max_steps=1
        )
        trainer = hf.Trainer(
            model=model,
            args=args,
            train_dataset=rows(),
            optimizer_cls_and_kwargs=trainer_optimizer(args, loraplus_lr_ratio=4),
        )
        trainer.train()
        optimizer = trainer.optimizer.optimizer
        assert isinstance(optimizer, torch.optim.SGD)
        assert [(group["name"], group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
            ("adapter", 1e-2, 0.1),
            ("B", 4e-2, 0.1),
            ("undecayed", 1e-2, 0.0),
            ("transfer", 2.5e-3, 0.0),
        ]

    def test_an_optimizer_with_groups_of_its_own_is_refused(
        self, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As GaLore, LOMO and Muon are, for which the packages are not here.
        monkeypatch.setattr(
            hf.Trainer, "get_optimizer_cls_and_kwargs", staticmethod(lambda *_: (torch.optim.AdamW, {"params": []}))
        )
        model = get_peft_model(make_model("bert"), LRLoraConfig(**FIELDS))
        args = arguments(tmp_path)
        trainer = hf.Trainer(
            model=model, args=args, train_dataset=rows(), optimizer_cls_and_kwargs=trainer_optimizer(args)
        )
        with pytest.raises(ValueError, match=r"optim=.* leaves no room for θ's"):
            trainer.train()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> hf.PreTrainedTokenizerBase:
    """Words for tokens: offline, and small enough for a model of 64."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(60))]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


class TestSFTTrainer:
    """TRL's SFTTrainer adapts the model itself."""

    @pytest.mark.parametrize(("packing", "checkpointing"), [(False, True), (True, False)])
    def test_it_trains_saves_and_loads(
        self,
        packing: bool,
        checkpointing: bool,
        make_model: Make,
        tokenizer: hf.PreTrainedTokenizerBase,
        tmp_path: Path,
    ) -> None:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        texts = [" ".join(f"w{(i * j) % 60}" for j in range(1, 9)) for i in range(1, 17)]
        args = SFTConfig(
            output_dir=str(tmp_path),
            max_steps=3,
            learning_rate=1e-2,
            per_device_train_batch_size=16,
            max_length=16,
            packing=packing,
            packing_strategy="wrapped",
            activation_checkpointing=checkpointing,
            report_to="none",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            dataloader_pin_memory=False,
            logging_steps=1,
        )
        trainer = SFTTrainer(
            model=make_model("llama"),
            args=args,
            train_dataset=Dataset.from_dict({"text": texts}),
            processing_class=tokenizer,
            peft_config=LRLoraConfig(r=2, num_grid_points=8, task_type="CAUSAL_LM"),
            optimizer_cls_and_kwargs=trainer_optimizer(args),
        )
        before = trained(trainer.model)
        assert any("lrlora_amplitude" in name for name in before)
        trainer.train()
        after = trained(trainer.model)
        assert [name for name in before if torch.equal(before[name], after[name])] == []
        rates = {group["name"]: group["initial_lr"] for group in trainer.optimizer.param_groups}
        assert rates == {"adapter": 1e-2, "transfer": pytest.approx(1e-2 * 5 / 8)}
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert losses[-1] < losses[0]

        trainer.save_model(str(tmp_path / "adapter"))
        ids = torch.arange(3, 13)[None]
        model = trainer.model.eval()
        loaded = PeftModel.from_pretrained(make_model("llama"), tmp_path / "adapter").eval()
        with torch.no_grad():
            torch.testing.assert_close(loaded(ids).logits, model(ids).logits, rtol=0, atol=0)


@pytest.fixture(scope="module")
def two_processes(in_two_processes: Callable[[Path, int], dict[str, Any]]) -> dict[str, Any]:
    """What ddp_worker.py found, started once for all tests: loading the libraries takes longer than all it does."""
    found = in_two_processes(Path(__file__).with_name("ddp_worker.py"), 240)
    assert found["processes"] == 2
    return found


VARIANTS = ["own", "at the start", "shared", "shared by halves", "tables", "rank 0", "rank 0, shared", "factored"]


class TestTwoProcesses:
    """DistributedDataParallel with find_unused_parameters=False, on CPU (gloo).

    Both processes have the same parameters, and so make the same plans: their gradients add up to those of one process
    to rounding, not to the tolerance of the engine.
    """

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_gradients_are_those_of_one_process(self, variant: str, two_processes: dict[str, Any]) -> None:
        assert two_processes[f"gradients {variant}"] < 1e-9

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_accumulated_gradients_are_too(self, variant: str, two_processes: dict[str, Any]) -> None:
        assert two_processes[f"accumulated {variant}"] < 1e-9

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_steps_lead_to_the_same_place(self, variant: str, two_processes: dict[str, Any]) -> None:
        found = two_processes[f"steps {variant}"]
        assert found["moved"]
        assert found["same everywhere"]
        assert found["difference"] < 1e-6

    def test_float32_gradients_differ_by_rounding(self, two_processes: dict[str, Any]) -> None:
        assert two_processes["gradients in float32"] < 1e-4

    def test_trainer_ends_alike_in_both(self, two_processes: dict[str, Any]) -> None:
        assert two_processes["trainer"] == {"steps": 4, "processes": 2, "same everywhere": True, "unmoved": []}
