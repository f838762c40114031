"""Data sets that lie in one wheel, that of OpenAI's evals: one download gets them all.

The wheel's licence is MIT for its code and for every data set it does not list by name; none of those here is listed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from lrlora.studies.tasks.pypi_data import WheelMember
from lrlora.studies.tasks.task import Columns, Examples, Task, split_groups

_SPLIT_SEED = 2019
"""Fixed: the splits belong to a task, not to a run."""

_MEMBERS = {
    "sarcasm": ("sarcasm/samples.jsonl", "4cb34ff4d2718da62368440ffe8dece7ece39a46b0fe4d172fdd8a76bc420f46"),
    "quartz": ("quartz/samples.jsonl", "e439668cc38aa157bb1a746d9540f61f29d7f494a6618a955c8e3b5f55a363e7"),
    "crepe": ("crepe/samples.jsonl", "eb4bcb0a3c383e0993f250032976019695aaab97f845c70b708c924a41a176e8"),
    "heart-disease": (
        "heart-disease/samples.jsonl",
        "7732622e617f32690e93a681dcf725cf146e179efaad12b9a658f856de51d0fc",
    ),
    "corr2cause": ("corr2cause/corr2cause.jsonl", "713012c06a39852a1ff295efc761e2932149e168a331e9347294c0e7542d5e17"),
    "pararule": (
        "pararule-plus-multi-step-deductive-reasoning/pararule-plus-multi-step-deductive-reasoning.jsonl",
        "89995dbc5c9968a2e8053c658b6fd498dc8f52cb885ebc26f796e53b7609e3e0",
    ),
}


def evals_member(name: str) -> WheelMember:
    """The data set of a task, with its neighbours in the wheel."""
    members = {
        task: WheelMember(
            name=task,
            requirement="evals==3.0.1.post1",
            wheel_sha256="0abcb2051303500784b1641a6e4f6b813ed43ad64f879a37d344a6774eb8eb78",
            member=f"evals/registry/data/{path}",
            member_sha256=sha256,
            megabytes=46,
        )
        for task, (path, sha256) in _MEMBERS.items()
    }
    return replace(members[name], together=tuple(other for task, other in members.items() if task != name))


class EvalsTask(Task):
    """A task whose data are one of the wheel's.

    Attributes:
        data: What is taken out of the wheel.
        about: What the data are, in a message.
        held_out: Examples in the validation split, and as many in the test split, or the few more that a group has.
        columns: What a split is.
    """

    data: ClassVar[WheelMember]
    about: ClassVar[str]
    held_out: ClassVar[int]
    columns: ClassVar[type[Columns]] = Examples

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Download the data on first use."""
        if not self.data.path.exists():
            source = f"{self.data.requirement}, {self.data.megabytes} MB"
            announce(f"fetching the {self.about} once: {source}, to {self.data.path}")
            self.data.fetch()
        self.data.read()

    def split(self, name: str) -> Any:
        """The examples of a split, in an order that is the same everywhere."""
        return self._splits[name]

    def groups(self) -> Sequence[Sequence[tuple[Any, ...]]]:
        """The rows of all examples, those together that belong into one split: here each by itself, text and class."""
        return [[(text, int(label))] for text, label in self.pairs()]

    @cached_property
    def _splits(self) -> dict[str, Columns]:
        splits = split_groups(self.groups(), self.held_out, _SPLIT_SEED)
        return {name: self.columns.from_rows(rows) for name, rows in splits.items()}

    def pairs(self) -> list[tuple[str, str]]:
        """What each sample asks, once, and the answer; what is there with two answers is left out."""
        answers: dict[str, set[str]] = {}
        for sample in self.data.read_jsonl():
            answers.setdefault(sample["input"][-1]["content"].strip(), set()).add(str(sample["ideal"]))
        return [(asked, next(iter(found))) for asked, found in answers.items() if len(found) == 1]
