# %% [markdown]
# # Exporting an adapter, and serving it where lrlora is not installed
#
# An LR-LoRA adapter needs `import lrlora` wherever it is loaded. Servers do not have that. Here a short training on
# sarcastic headlines is exported as a merged model and as a LoRA adapter, and a LoRA adapter is taken over.
# `pip install "lrlora[studies,models]"`; about two minutes on two cores; `--steps 2` only sees that it runs.

# %%
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from lrlora import LRLoraConfig, parameter_groups
from lrlora.export import save_as_lora, save_from_lora, save_merged, to_lora
from lrlora.export.table import markdown, summarize, verdict
from lrlora.studies.models.backbones import load_model, load_tokenizer
from lrlora.studies.tasks import make_task

parser = argparse.ArgumentParser(description="Exporting an adapter, and serving it where lrlora is not installed.")
parser.add_argument("--steps", type=int, default=80)
steps = parser.parse_known_args()[0].steps  # in a notebook the command line is the kernel's
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## An adapter
#
# The training is short; plain_loop.py explains it. The learning rate is high, so that φ bends visibly.

# %%
task = make_task("sarcasm")
task.prepare(print)
train, test = task.split("train"), task.split("test").first(64 if steps > 10 else 8)
tokenizer = load_tokenizer("minilm")


def fit(model: torch.nn.Module, first: int, steps: int) -> None:
    """Train on the headlines from number ``first`` on, 16 at a time."""
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=4e-3))
    model.train()
    for start in range(first, first + 16 * steps, 16):
        tokens = tokenizer(
            train.texts[start : start + 16], truncation=True, max_length=40, padding=True, return_tensors="pt"
        )
        loss = model(**tokens, labels=torch.tensor(train.labels[start : start + 16])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    print(f"loss of the last batch: {loss.item():.3f}")


def logits(model: torch.nn.Module) -> torch.Tensor:
    """Of the test headlines."""
    tokens = tokenizer(test.texts, truncation=True, max_length=40, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model(**tokens).logits


torch.manual_seed(0)
config = LRLoraConfig(r=4, basis="sinc", placement="attention", task_type="SEQ_CLS")
model = get_peft_model(load_model("minilm", task.labels), config)
fit(model, 0, steps)
reference = logits(model)

# %% [markdown]
# ## First way out: the merged model
#
# A checkpoint of transformers, tokenizer files included. It is exact, and as large as the base model.

# %%
save_merged(model, folder / "merged")
print(sorted(path.name for path in (folder / "merged").iterdir()))

# %% [markdown]
# ## Second way out: a LoRA adapter
#
# ΔW = φ(BA) has a higher rank than BA, so a LoRA adapter is an approximation, and how good it is depends on how far φ
# bends. Before anything is written, the errors of some ranks: of all updates together, and in the worst layer.

# %%
for rank in (4, 8, 16, 32, 64):
    summary = summarize(to_lora(model, rank=rank).rows)
    print(f"rank {rank:3}: error {summary['error']:7.2%}, in the worst layer {summary['worst_error']:7.2%}")

# %% [markdown]
# Rather than a rank one can give the error. Each layer then gets the smallest rank that does, as `rank_pattern`;
# `max_rank` and `equal_ranks` are for servers that have a cap, or take one rank only.

# %%
export = save_as_lora(model, folder / "lora", error=0.05)
print(verdict(export.rows))
print(markdown(export.rows))

# %% [markdown]
# ## Serving it
#
# A fresh process, in which `import lrlora` fails, loads the LoRA adapter with plain PEFT, and the merged model without
# PEFT.

# %%
SERVER = """
import json, sys, torch
sys.modules["lrlora"] = None
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
batch = tokenizer(json.load(sys.stdin), truncation=True, max_length=40, padding=True, return_tensors="pt")
merged = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
lora = AutoPeftModelForSequenceClassification.from_pretrained(sys.argv[2]).eval()
with torch.no_grad():
    print(json.dumps([model(**batch).logits.tolist() for model in (merged, lora)]))
"""
served = subprocess.run(
    [sys.executable, "-W", "ignore", "-c", SERVER, str(folder / "merged"), str(folder / "lora")],
    input=json.dumps(test.texts),
    stdout=subprocess.PIPE,
    text=True,
    check=True,
)
for name, found in zip(("merged", "LoRA"), json.loads(served.stdout.splitlines()[-1]), strict=True):
    difference = (torch.tensor(found) - reference).abs().max()
    same = (torch.tensor(found).argmax(-1) == reference.argmax(-1)).float().mean()
    print(f"{name}: logits differ by {difference:.1e} at most, the same answer to {same:.1%} of the headlines")

# %% [markdown]
# ## The way in: from LoRA
#
# A LoRA adapter becomes an LR-LoRA adapter that computes the same, and trains on from there with a φ that may bend.

# %%
torch.manual_seed(0)
lora_config = LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"], task_type="SEQ_CLS")
lora = get_peft_model(load_model("minilm", task.labels), lora_config)
fit(lora, 0, steps)
lora.save_pretrained(folder / "from-elsewhere")

save_from_lora(folder / "from-elsewhere", folder / "taken-over", basis="gaussian")
taken = PeftModel.from_pretrained(load_model("minilm", task.labels), folder / "taken-over", is_trainable=True).eval()
print(f"taken over: logits differ by {(logits(taken) - logits(lora)).abs().max():.1e} at most")
print(verdict(to_lora(taken).rows))
fit(taken, 16 * steps, max(1, steps // 4))
print(verdict(to_lora(taken, rank=4).rows))
