"""How long a training step takes: each engine and basis against PEFT's LoRA, in one process, in turns.

    python -m lrlora.analysis.bench --rank 4 --tokens 512

One adapted layer of the given shape at a trained state: B is drawn with standard deviation 0.03, since at B = 0 every
engine is cheap. What is printed is the median of the ratios of neighbouring steps, with the quartiles: single times on
a shared machine mean little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from lrlora.bases import BASES
from lrlora.engines import EngineError
from lrlora.optimizer import parameter_groups
from lrlora.tuner import LRLoraConfig


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m lrlora.analysis.bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rank", type=int, default=4, help="r (default 4)")
    parser.add_argument("--tokens", type=int, default=512, help="tokens in a step (default 512)")
    parser.add_argument("--shape", type=int, nargs=2, default=[1536, 384], metavar=("OUT", "IN"), help="of the weight")
    parser.add_argument("--grid-points", type=int, default=50, help="N (default 50)")
    parser.add_argument("--bases", nargs="+", default=[entry.name for entry in BASES if entry.origin == "built-in"])
    parser.add_argument("--engines", nargs="+", default=["auto", "polynomial", "tabulated"])
    parser.add_argument("--steps", type=int, default=15, help="counted steps of each (default 15)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)

    lora = _step(LoraConfig(r=given.rank, lora_alpha=given.rank, target_modules=["0"]), given.shape, given.tokens)
    rows = []
    for basis in given.bases:
        for engine in given.engines:
            config = LRLoraConfig(
                r=given.rank,
                lora_alpha=given.rank,
                basis=basis,
                engine=engine,
                num_grid_points=given.grid_points,
                target_modules=["0"],
            )
            try:
                ratios = _interleaved(_step(config, given.shape, given.tokens), lora, given.steps)
            except EngineError:
                continue  # it says so itself wherever it is asked for; there is nothing to time
            low, median, high = statistics.quantiles(ratios, n=4)
            rows.append({"basis": basis, "engine": engine, "ratio": median, "quartiles": [low, high]})
            if not given.json:
                print(f"{basis:12} {engine:12} {median:5.2f} × LoRA  (quartiles {low:.2f} to {high:.2f})", flush=True)
    if given.json:
        print(json.dumps({"settings": vars(given), "threads": torch.get_num_threads(), "rows": rows}, indent=2))


def _step(config: LoraConfig | LRLoraConfig, shape: list[int], tokens: int) -> Callable[[], None]:
    """A training step of one layer with its optimizer."""
    torch.manual_seed(0)
    out_features, in_features = shape
    model = get_peft_model(nn.Sequential(nn.Linear(in_features, out_features)), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.03)
            elif "lrlora_amplitude" in name:
                parameter.normal_(std=0.02)
    x = torch.randn(tokens, in_features, requires_grad=True)
    incoming = torch.randn(tokens, out_features)
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=1e-6))

    def step() -> None:
        model(x).backward(incoming)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _interleaved(ours: Callable[[], None], theirs: Callable[[], None], steps: int) -> list[float]:
    for _ in range(3):
        ours()
        theirs()
    return [_seconds(ours) / _seconds(theirs) for _ in range(steps)]


def _seconds(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
