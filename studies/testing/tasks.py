"""Checks of a task: cheap to make, with fixed splits that share nothing."""

from __future__ import annotations

import contextlib
import copy
import inspect
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import torch

from lrlora.registry import closest
from lrlora.studies.errors import StudyError
from lrlora.studies.tasks import SPLITS, TASKS, Task, draw, make_task
from lrlora.studies.testing.offline import WouldDownloadError, offline
from lrlora.testing.checks import (
    Check,
    ConformanceError,
    NotApplicableError,
    Outcome,
    bind,
    checks_of,
    require,
)


@dataclass(frozen=True)
class TaskByName:
    """A task as a study names it, so that how it is made can be checked too.

    Attributes:
        name: In the registry of tasks.
        options: What it is made with.
    """

    name: str
    options: dict[str, object] = field(default_factory=dict)

    def make(self) -> Task:
        """The task."""
        return make_task(self.name, self.options)


def check_task(
    task: str | Task,
    options: dict[str, object] | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> list[Outcome]:
    """Run all checks of a task.

    Args:
        task: Its name, or itself; of a task that is made already, how it is made is not checked.
        options: What it is made with, if it is given by name.
        expected_failures: Names of checks that will fail, each with the reason.

    Raises:
        ConformanceError: With a line per failure.
        StudyError: The options do not fit it.
    """
    checked: Any = TaskByName(task, options or {}) if isinstance(task, str) else task
    return require(checked, expected_failures)


# -- how it is made -----------------------------------------------------------------------------------------


def check_made_without_network(task: TaskByName) -> None:
    """Making it asks for no network and starts no process."""
    with offline() as refused, contextlib.suppress(WouldDownloadError):
        task.make()
    if refused:
        raise ConformanceError(f"making it asks for {refused[0]}")


def check_unknown_options(task: TaskByName) -> None:
    """An option that is none is refused in one line that names it or the ones that are."""
    known = list(inspect.signature(TASKS.get(task.name)).parameters)
    wrong = f"{known[0]}x" if known else "no_such_option"
    try:
        make_task(task.name, {**task.options, wrong: "x"})
    except StudyError as error:
        said, nearest = str(error), closest(wrong, known)
        if "\n" in said or wrong not in said or (nearest is not None and nearest not in said):
            raise ConformanceError(
                f"the refusal of the option {wrong!r} is no line that names it and {nearest!r}: {said!r}"
            ) from error
    else:
        raise ConformanceError(f"the unknown option {wrong!r} is taken")


# -- what it holds ------------------------------------------------------------------------------------------


def check_announces_a_download(task: Task) -> None:
    """What would download says so first, in one line."""
    said: list[str] = []
    with offline() as refused:
        try:
            task.prepare(said.append)
        except Exception:
            if not refused:  # else it is of the download that was refused, in whatever words
                raise
    if refused and not said:
        raise ConformanceError(f"prepare asks for {refused[0]} without a word")
    for line in said:
        if not isinstance(line, str) or not line.strip() or "\n" in line:
            raise ConformanceError(f"prepare announces {line!r}, which is not one line")


def check_classes(task: Task) -> None:
    """There are two classes at least, with names of their own, and every label is one of them."""
    task = _prepared(task)
    names = task.labels
    if names == () and not hasattr(task.split("train"), "labels"):
        raise NotApplicableError("its examples have no classes")
    if not isinstance(names, tuple) or not all(isinstance(name, str) and name for name in names):
        raise ConformanceError(f"labels is {names!r}, not a tuple of names")
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConformanceError(f"labels is {names!r}, not two or more names that differ")
    for split in SPLITS:
        for i, label in enumerate(task.split(split).labels):
            if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < len(names):
                raise ConformanceError(f"label {i} of {split} is {label!r}, no whole number from 0 to {len(names) - 1}")


def check_splits(task: Task) -> None:
    """Every split has examples, as many labels as texts."""
    task = _prepared(task)
    for split in SPLITS:
        examples = task.split(split)
        if len(examples) == 0:
            raise ConformanceError(f"split {split} is empty")
        for column, values in _columns(examples).items():
            if len(values) != len(examples):
                raise ConformanceError(f"split {split} has {len(examples)} examples and {len(values)} {column}")


def check_no_example_in_two_splits(task: Task) -> None:
    """No split holds an example of another."""
    task = _prepared(task)
    if task.one_split:
        raise NotApplicableError("the fit to its examples is measured, so that all splits are the same")
    owner: dict[str, str] = {}
    for split in SPLITS:
        for example in _inputs(task.split(split)):
            if owner.setdefault(example, split) != split:
                raise ConformanceError(f"the splits {owner[example]} and {split} share {_short(example)}")


def check_splits_are_fixed(task: Task) -> None:
    """The splits are the same when asked again, when made anew, and under another seed of Python and of PyTorch."""
    state = random.getstate()
    task = _prepared(task)
    again = _prepared(copy.deepcopy(task))
    fresh = _prepared(_unread(task))
    try:
        with torch.random.fork_rng(devices=[]):
            for split in SPLITS:
                first = task.split(split)
                for seed, other, how in ((1, task, "asked again"), (2, again, "copied"), (3, fresh, "read anew")):
                    random.seed(seed)
                    torch.manual_seed(seed)
                    if other.split(split) != first:
                        raise ConformanceError(f"split {split} differs when {how} under another seed")
    finally:
        random.setstate(state)


def check_draws_are_nested(task: Task) -> None:
    """A smaller draw from the training split begins a larger one of the same seed, and another seed draws others."""
    train = _prepared(task).split("train")
    large = draw(train, None, 0)
    if sorted(_inputs(large)) != sorted(_inputs(train)):
        raise ConformanceError("a draw of all training examples is not all of them")
    for count in (1, len(train) // 2, len(train)):
        if draw(train, count, 0) != large.first(count):
            raise ConformanceError(f"a draw of {count} is not the beginning of one of all")


def _prepared(task: Task) -> Task:
    """The task with its data at hand.

    Raises:
        NotApplicableError: They would have to be downloaded first.
    """
    said: list[str] = []
    with offline() as refused, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            task.prepare(said.append)
        except Exception as error:
            if not refused:
                raise
            raise NotApplicableError(f"its data are not here yet: {' '.join(said) or refused[0]}") from error
    return task


def _unread(task: Task) -> Task:
    """A copy that has to read its data again: without what the task remembers of them."""
    remembered = {
        name for kind in type(task).__mro__ for name, value in vars(kind).items() if hasattr(value, "attrname")
    }
    fresh = copy.copy(task)
    for name in remembered & vars(fresh).keys():
        del vars(fresh)[name]
    return fresh


def _columns(examples: Any) -> dict[str, list[Any]]:
    """The lists that examples of any kind are made of, by name."""
    values = {one.name: getattr(examples, one.name) for one in fields(examples)}
    return {name: list(value) for name, value in values.items() if isinstance(value, (list, tuple))}


def _inputs(examples: Any) -> list[str]:
    """What makes each example what it is: all but its label."""
    columns = [values for name, values in _columns(examples).items() if name != "labels"]
    return [repr(row) for row in zip(*columns, strict=True)]


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


_CONTENT = [
    check_announces_a_download,
    check_classes,
    check_splits,
    check_no_example_in_two_splits,
    check_splits_are_fixed,
    check_draws_are_nested,
]


@checks_of.register(Task)
def _(task: Task) -> Iterator[Check]:
    return bind(_CONTENT, task)


@checks_of.register(TaskByName)
def _(task: TaskByName) -> Iterator[Check]:
    yield from bind([check_made_without_network, check_unknown_options], task)
    for check in _CONTENT:
        about = (check.__doc__ or "").partition("\n")[0]
        yield Check(check.__name__, about, partial(_made_and_checked, check, task))


def _made_and_checked(check: Callable[[Task], None], task: TaskByName) -> None:
    check(task.make())
