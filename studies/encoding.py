"""Texts to token ids, once per task, tokenizer and length in a process, whatever the number of cells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lrlora.studies.backbones import load_tokenizer
from lrlora.studies.tasks import Examples, Task, draw, make_task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Encoded = list[dict[str, Any]]


@lru_cache(maxsize=4)
def tokenizer_of(backbone: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a backbone, loaded once."""
    return load_tokenizer(backbone)


def task_of(task: Mapping[str, Any]) -> Task:
    """The task that a cell names, made and read once."""
    return _task(json.dumps(task, sort_keys=True))


def encode_training(task: Mapping[str, Any], backbone: str, max_length: int, count: int | None, seed: int) -> Encoded:
    """The training examples of a run, in the order that its seed decides."""
    drawn = draw(task_of(task).split("train"), count, seed)
    return _encode(drawn, tokenizer_of(backbone), max_length)


def encode_split(task: Mapping[str, Any], backbone: str, max_length: int, split: str, count: int | None) -> Encoded:
    """The first ``count`` examples of a split that is only looked at."""
    return _encoded_split(json.dumps(task, sort_keys=True), backbone, max_length, split, count)


@lru_cache(maxsize=4)
def _task(canonical: str) -> Task:
    chosen = json.loads(canonical)
    return make_task(chosen["name"], chosen["options"])


@lru_cache(maxsize=8)
def _encoded_split(canonical: str, backbone: str, max_length: int, split: str, count: int | None) -> Encoded:
    return _encode(_task(canonical).split(split).first(count), tokenizer_of(backbone), max_length)


def _encode(examples: Examples, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encoded:
    tokens = tokenizer(examples.texts, truncation=True, max_length=max_length)
    names = list(tokens)
    columns = [tokens[name] for name in names]
    return [
        {**dict(zip(names, row, strict=True)), "labels": label}
        for row, label in zip(zip(*columns, strict=True), examples.labels, strict=True)
    ]
