"""Examples to rows for a model, once per task, backbone and length in a process, whatever the number of cells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lrlora.studies.kinds import Kind, Rows, kind_of
from lrlora.studies.tasks import Task, make_task


def task_of(task: Mapping[str, Any]) -> Task:
    """The task that a cell names, made and read once."""
    return _task(json.dumps(task, sort_keys=True))


def kind_for(task: Mapping[str, Any], backbone: str) -> Kind:
    """How the backbone of a cell is trained and judged on its task.

    Raises:
        StudyError: It cannot be; one line.
    """
    return _kind(json.dumps(task, sort_keys=True), backbone)


def encode_training(task: Mapping[str, Any], backbone: str, max_length: int, count: int | None, seed: int) -> Rows:
    """The training examples of a run, in the order that its seed decides."""
    return kind_for(task, backbone).drawn_rows(max_length, count, seed, training=True)


def encode_split(task: Mapping[str, Any], backbone: str, max_length: int, split: str, count: int | None) -> Rows:
    """The first ``count`` examples of a split, as they are judged."""
    return _encoded_split(json.dumps(task, sort_keys=True), backbone, max_length, split, count)


def encode_seen(task: Mapping[str, Any], backbone: str, max_length: int, count: int | None, seed: int) -> Rows:
    """The first ``count`` training examples of a run, as they are judged."""
    return kind_for(task, backbone).drawn_rows(max_length, count, seed, training=False)


@lru_cache(maxsize=4)
def _task(canonical: str) -> Task:
    chosen = json.loads(canonical)
    return make_task(chosen["name"], chosen["options"])


@lru_cache(maxsize=8)
def _kind(canonical: str, backbone: str) -> Kind:
    return kind_of(_task(canonical), backbone)


@lru_cache(maxsize=8)
def _encoded_split(canonical: str, backbone: str, max_length: int, split: str, count: int | None) -> Rows:
    return _kind(canonical, backbone).judged_rows(max_length, split, count)
