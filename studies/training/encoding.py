"""Encodes examples as rows for a model, once per process for each task, backbone and length."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lrlora.studies.kinds import Kind, Rows, kind_of
from lrlora.studies.tasks import Task, make_task


def task_of(task: Mapping[str, Any]) -> Task:
    """Returns the task that a cell names, made and read once."""
    return _task(json.dumps(task, sort_keys=True))


def kind_for(task: Mapping[str, Any], backbone: str) -> Kind:
    """Returns the kind of a cell's task for its backbone.

    Raises:
        StudyError: If they do not fit; one line.
    """
    return _kind(json.dumps(task, sort_keys=True), backbone)


def encode_training(task: Mapping[str, Any], backbone: str, max_length: int, count: int | None, seed: int) -> Rows:
    """Returns the training examples of a run, in the order given by its seed."""
    return kind_for(task, backbone).drawn_rows(max_length, count, seed, training=True)


def encode_split(task: Mapping[str, Any], backbone: str, max_length: int, split: str, count: int | None) -> Rows:
    """Returns the first ``count`` examples of a split, for evaluation."""
    return _encoded_split(json.dumps(task, sort_keys=True), backbone, max_length, split, count)


def encode_seen(task: Mapping[str, Any], backbone: str, max_length: int, count: int | None, seed: int) -> Rows:
    """Returns the first ``count`` training examples of a run, for evaluation."""
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
    return _kind(canonical, backbone).evaluation_rows(max_length, split, count)
