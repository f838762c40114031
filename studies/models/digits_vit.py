"""A vision transformer for images of 8 × 8 pixels, pretrained here on the handwritten digits 0 to 4.

Adapters need something to adapt, and no pretrained vision model installs as a package. This one has 135,000 parameters
and is made in some ten seconds with a fixed seed. On one machine it is the same whenever it is made; another
processor rounds differently, so figures on it compare within one machine.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrlora.studies.tasks.digits import digits
from lrlora.studies.tasks.pypi_data import cache_folder

if TYPE_CHECKING:
    from transformers import ViTConfig

_RECIPE = 1
"""Part of the folder's name: a changed recipe makes another model."""
_STEPS, _BATCH, _RATE, _SEED = 300, 64, 1e-3, 2019


class DigitsVit:
    """The model, and where it is kept once it is made."""

    gguf: str | None = None

    def directory(self, name: str) -> Path:
        """Where its files are, or will be: below ``$LRLORA_CACHE``, or the user's cache folder."""
        return cache_folder() / "models" / f"{name}-{_RECIPE}"

    def is_made(self, name: str) -> bool:
        """Whether it is there, whole: it is put in its place when it is done."""
        return (self.directory(name) / "model.safetensors").is_file()

    def config(self) -> ViTConfig:
        """Four layers of width 64 on patches of 2 × 2 pixels."""
        from transformers import ViTConfig

        return ViTConfig(
            image_size=8,
            patch_size=2,
            num_channels=1,
            hidden_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=128,
            architectures=["ViTModel"],
        )

    def make(self, name: str, steps: int = _STEPS) -> float:
        """Pretrain it, and put it in its place, whole or not at all.

        Returns:
            Its accuracy on the tenth of the digits 0 to 4 that it was not trained on.
        """
        from filelock import FileLock
        from transformers.utils import logging

        place = self.directory(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"), tempfile.TemporaryDirectory(dir=place.parent) as folder:
            model, accuracy = self._pretrained(steps)
            logging.disable_progress_bar()
            model.save_pretrained(Path(folder, "made"))
            shutil.rmtree(place, ignore_errors=True)
            os.replace(Path(folder, "made"), place)
        return accuracy

    def _pretrained(self, steps: int) -> tuple[Any, float]:
        import torch
        from transformers import ViTForImageClassification

        images = digits(0, 5)
        pixels, labels = torch.tensor(images.pixels), torch.tensor(images.labels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            config = self.config()
            config.num_labels = 5
            model = ViTForImageClassification(config)
            shuffled = torch.randperm(len(images))
            held_out, rest = shuffled[: len(images) // 10], shuffled[len(images) // 10 :]
            optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=max(steps, 2))
            for _ in range(steps):
                batch = rest[torch.randint(len(rest), (_BATCH,))]
                model(pixel_values=pixels[batch], labels=labels[batch]).loss.backward()
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            predicted = model(pixel_values=pixels[held_out]).logits.argmax(dim=-1)
        return model.vit, float((predicted == labels[held_out]).float().mean())  # without the head of these five digits
