"""Methods and tasks with one fault each: what the checks of studies are proved on."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gallery import Gallery
from torch import nn

from lrlora.studies.errors import StudyError
from lrlora.studies.methods import Method
from lrlora.studies.tasks import Examples, Task

FAULTS = Gallery()
found_by = FAULTS.found_by


class HeadOnly(Method):
    """Trains the head; what is below differs from it in one thing."""

    def __init__(self, rate: float = 1.0, **unknown: Any) -> None:
        if unknown:
            raise StudyError(f"unknown setting {sorted(unknown)[0]!r} (known: rate)")
        self.rate = rate

    @classmethod
    def fields(cls) -> list[str]:
        return ["rate"]

    def resolved(self) -> dict[str, Any]:
        return {"rate": self.rate}

    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        model.requires_grad_(False)
        model.classifier.requires_grad_(True)  # type: ignore[union-attr]
        return model

    def parameter_groups(self, model: nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        return [{"params": [p for p in model.parameters() if p.requires_grad], "lr": learning_rate}]

    def save(self, model: nn.Module, folder: Path) -> None:
        from safetensors.torch import save_file

        save_file({n: p.detach() for n, p in model.named_parameters() if p.requires_grad}, folder / "head.safetensors")


@found_by("check_settings", "resolved() holds rate=inf, which JSON cannot hold")
class InfiniteRate(HeadOnly):
    def __init__(self, rate: float = float("inf"), **unknown: Any) -> None:
        super().__init__(rate, **unknown)


@found_by("check_settings", "holds 'seed', which is no field")
class SettingOfItsOwn(HeadOnly):
    def resolved(self) -> dict[str, Any]:
        return {"rate": 1.0, "seed": 0}


@found_by("check_every_setting_is_resolved", "resolved() leaves out 'rate'")
class LeavesDefaultsOut(HeadOnly):
    def resolved(self) -> dict[str, Any]:
        return {}


@found_by("check_settings_make_it_again", "rate is 4.0 and not 2.0")
class DoublesItsRate(HeadOnly):
    def __init__(self, rate: float = 1.0, **unknown: Any) -> None:
        super().__init__(2 * rate, **unknown)


@found_by("check_unknown_settings", "the unknown setting 'ratex' is taken")
class TakesAnything(HeadOnly):
    def __init__(self, rate: float = 1.0, **unknown: Any) -> None:
        super().__init__(rate)


@found_by("check_unknown_settings", "is no line that names it")
class RefusesAtLength(HeadOnly):
    def __init__(self, rate: float = 1.0, **unknown: Any) -> None:
        if unknown:
            raise ValueError("one error\nin two lines")
        super().__init__(rate)


@found_by("check_adapts", "leaves nothing to train")
class TrainsNothing(HeadOnly):
    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        return model.requires_grad_(False)


@found_by("check_adapts", "which is 8 wide: too narrow")
class WantsWidth(HeadOnly):
    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        raise ValueError("too narrow")


@found_by("check_same_seed_same_start", "classifier.weight starts differently")
class DrawsFromPython(HeadOnly):
    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        adapted = super().adapt(model)
        nn.init.constant_(adapted.classifier.weight, random.random())  # type: ignore[union-attr,arg-type]
        return adapted


@found_by("check_groups_cover_what_trains", "classifier.bias trains and is in no group")
class ForgetsTheBias(HeadOnly):
    def parameter_groups(self, model: nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        return [{"params": [p for n, p in model.named_parameters() if p.requires_grad and "bias" not in n]}]


@found_by("check_groups_cover_what_trains", "is in the groups twice")
class Twice(HeadOnly):
    def parameter_groups(self, model: nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        return 2 * super().parameter_groups(model, learning_rate, weight_decay)


@found_by("check_trains_what_it_says", "a_count changes in two steps, though it is not trained")
class CountsInABuffer(HeadOnly):
    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        model = super().adapt(model)
        model.register_buffer("a_count", torch.zeros(()))
        model.register_forward_hook(lambda module, *_: module.a_count.add_(1) and None)  # type: ignore[operator,union-attr]
        return model


@found_by("check_trains_what_it_says", "nothing changes in two steps")
class StandsStill(HeadOnly):
    def parameter_groups(self, model: nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        return [{**group, "lr": 0.0} for group in super().parameter_groups(model, learning_rate, weight_decay)]


@found_by("check_counts_without_weights", "on the meta device and")
class ComputesFromTheWeights(HeadOnly):
    """Leaves its adapter out where there are no weights to compute it from."""

    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        adapted = super().adapt(model)
        if not next(model.parameters()).is_meta:
            adapted.extra = nn.Linear(2, 2)
        return adapted


@found_by("check_saves_safetensors", "which holds a pickle")
class SavesAPickle(HeadOnly):
    def save(self, model: nn.Module, folder: Path) -> None:
        super().save(model, folder)
        torch.save({"rate": self.rate}, folder / "settings.bin")


@found_by("check_saves_safetensors", "writes working/head.json outside of its folder")
class WritesWhereItIs(HeadOnly):
    def save(self, model: nn.Module, folder: Path) -> None:
        super().save(model, folder)
        Path("head.json").write_text("{}", encoding="utf-8")


@found_by("check_saves_safetensors", "writes 16 numbers, and 18 were trained")
class SavesHalf(HeadOnly):
    def save(self, model: nn.Module, folder: Path) -> None:
        from safetensors.torch import save_file

        save_file({"weight": model.classifier.weight.detach()}, folder / "head.safetensors")  # type: ignore[union-attr]


# -- tasks --------------------------------------------------------------------------------------------------


class Parity(Task):
    """Twelve numbers in words; what is below differs from it in one thing."""

    @property
    def labels(self) -> tuple[str, ...]:
        return ("even", "odd")

    def prepare(self, announce: Callable[[str], None]) -> None:
        pass

    def split(self, name: str) -> Examples:
        numbers = {"train": range(8), "validation": range(8, 10), "test": range(10, 12)}[name]
        return Examples([f"number {i}" for i in numbers], [i % 2 for i in numbers])


@found_by("check_announces_a_download", "asks for a network connection without a word")
class DownloadsInSilence(Parity):
    def prepare(self, announce: Callable[[str], None]) -> None:
        with socket.socket() as connection:
            connection.connect(("127.0.0.1", 9))


@found_by("check_announces_a_download", "which is not one line")
class AnnouncesAtLength(Parity):
    def prepare(self, announce: Callable[[str], None]) -> None:
        announce("reading\nthe numbers")


@found_by("check_classes", "not two or more names that differ")
class OneClass(Parity):
    @property
    def labels(self) -> tuple[str, ...]:
        return ("even",)


@found_by("check_classes", "label 0 of train is 1.0, no whole number from 0 to 1")
class CountsFromOne(Parity):
    def split(self, name: str) -> Examples:
        examples = super().split(name)
        return Examples(examples.texts, [float(label + 1) for label in examples.labels])  # type: ignore[misc]


@found_by("check_splits", "split test is empty")
class NoTest(Parity):
    def split(self, name: str) -> Examples:
        return super().split(name).first(0 if name == "test" else None)


@found_by("check_splits", "split train has 8 examples and 7 labels")
class LosesALabel(Parity):
    def split(self, name: str) -> Examples:
        examples = super().split(name)
        return Examples(examples.texts, examples.labels[:7])


@found_by("check_no_example_in_two_splits", "the splits train and test share ('number 7',)")
class TestsWhatItTrained(Parity):
    def split(self, name: str) -> Examples:
        if name != "test":
            return super().split(name)
        return Examples(["number 7"], [1])


@found_by("check_splits_are_fixed", "split train differs when asked again under another seed")
class ShufflesBySeed(Parity):
    def split(self, name: str) -> Examples:
        examples = super().split(name)
        order = random.sample(range(len(examples)), len(examples))
        return Examples([examples.texts[i] for i in order], [examples.labels[i] for i in order])


class ConnectsWhenMade(Parity):
    def __init__(self) -> None:
        socket.getaddrinfo("localhost", 80)


class TakesAnyOption(Parity):
    def __init__(self, **options: Any) -> None:
        pass
