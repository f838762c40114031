# %% [markdown]
# # LR-LoRA with transformers' Trainer
#
# The task of plain_loop.py: MiniLM, sarcastic headlines. `Trainer` takes the adapted model as it is; one argument gives
# θ its own learning rate. The run is broken off half-way and goes on from its checkpoint, and the best model is kept.
# `pip install "lrlora[all]"`; a minute or two on two cores; `--steps 2` only sees that it runs.

# %%
import argparse
import tempfile

import torch
from peft import PeftModel, get_peft_model
from transformers import (
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from lrlora import LRLoraConfig, trainer_optimizer
from lrlora.analysis import layer_report
from lrlora.studies.models.backbones import load_model, load_tokenizer
from lrlora.studies.tasks import make_task
from lrlora.studies.training.encoding import encode_split, encode_training

parser = argparse.ArgumentParser(description="LR-LoRA with transformers' Trainer.")
parser.add_argument("--steps", type=int, default=100)
steps = parser.parse_known_args()[0].steps
half = max(1, steps // 2)

# %% [markdown]
# ## Data
#
# Lists of `{"input_ids": ..., "labels": ...}`, fetched once.

# %%
name = {"name": "sarcasm", "options": {}}
task = make_task("sarcasm")
task.prepare(print)
train = encode_training(name, "minilm", 40, 16 * steps, seed=0)
validation = encode_split(name, "minilm", 40, "validation", 300 if steps > 10 else 32)

# %% [markdown]
# ## The trainer
#
# `trainer_optimizer(args)` reads the kind of optimizer, the learning rate and the weight decay from the arguments, and
# groups the parameters when training begins. `Trainer(optimizers=(AdamW(parameter_groups(model, lr)), None))` does the
# same by hand. `loraplus_lr_ratio=...` would let B learn faster than A, as in LoRA+.


# %%
def accuracy(judged: EvalPrediction) -> dict[str, float]:
    """The share of headlines that are told right."""
    return {"accuracy": float((judged.predictions.argmax(-1) == judged.label_ids).mean())}


def make_trainer(folder: str) -> Trainer:
    """The same trainer, with the same model at its start, each time."""
    set_seed(0)
    model = get_peft_model(load_model("minilm", task.labels), LRLoraConfig(r=4, sharing="all", task_type="SEQ_CLS"))
    args = TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        learning_rate=2e-3,
        warmup_steps=steps // 10,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=100,
        eval_strategy="steps",
        eval_steps=half,
        save_strategy="steps",
        save_steps=half,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        logging_steps=max(1, steps // 5),
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
        label_names=["labels"],
    )
    return Trainer(
        model=model,
        args=args,
        train_dataset=train,
        eval_dataset=validation,
        data_collator=DataCollatorWithPadding(load_tokenizer("minilm")),
        compute_metrics=accuracy,
        optimizer_cls_and_kwargs=trainer_optimizer(args),
    )


# %% [markdown]
# ## Training, and training on
#
# The first trainer is stopped half-way, as a cluster might do it. The second knows nothing of it but the folder, and
# arrives where a run that was not stopped arrives, bit by bit.


# %%
class Interruption(TrainerCallback):
    """Stops training half-way, once the checkpoint is written."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Called after every checkpoint."""
        control.should_training_stop = True


scratch = tempfile.TemporaryDirectory()
first = make_trainer(scratch.name)
first.add_callback(Interruption())
first.train()
print(f"interrupted after {first.state.global_step} steps")

second = make_trainer(scratch.name)
second.train(resume_from_checkpoint=True)
state = second.state
print(f"went on to {state.global_step} steps; best accuracy {state.best_metric:.3f}")
print(f"after training, the best model: accuracy {second.evaluate()['eval_accuracy']:.3f}")

# %% [markdown]
# ## The checkpoint
#
# Every checkpoint is an adapter, and θ, of which all layers share one here, is in it.

# %%
assert state.best_model_checkpoint is not None
loaded = PeftModel.from_pretrained(load_model("minilm", task.labels), state.best_model_checkpoint)
scratch.cleanup()
report = layer_report(loaded)
print(f"nonlinear fraction: {sum(line.nonlinear_fraction for line in report) / len(report):.1%} on average")
shared = {id(module) for name, module in loaded.named_modules() if name.endswith("lrlora_amplitude.default")}
print(f"adapted layers: {len(report)}, sets of amplitudes: {len(shared)}")
