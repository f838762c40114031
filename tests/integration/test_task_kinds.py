"""Every kind of task on tiny models: trained in one way, and evaluated by metrics that are what their names say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_backbones import save_backbone
from tiny_studies import run, study, write_tasks

from lrlora.policies.roles import role_of
from lrlora.studies.errors import StudyError
from lrlora.studies.execution.checks import check_design
from lrlora.studies.kinds.multiple_choice import OptionLikelihood, OptionPairs
from lrlora.studies.models.backbones import BACKBONES, prepare_backbone
from lrlora.studies.models.digits_vit import DigitsVit
from lrlora.studies.record.predictions import load_predictions
from lrlora.studies.spec.study import Study
from lrlora.studies.training.encoding import encode_seen, encode_split, encode_training, kind_for


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """A task of each kind from files."""
    return write_tasks(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("backbones")
    return {family: save_backbone(family, folder / family) for family in ("llama", "bert")}


@pytest.fixture(autouse=True)
def barely_pretrained(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A digits-vit of three steps, in a cache of its own."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("LRLORA_CACHE", str(cache))
    if not DigitsVit().is_made("digits-vit"):
        DigitsVit().make("digits-vit", steps=3)


KINDS = [
    ("text", "llama", {"loss", "perplexity"}),
    ("questions", "llama", {"loss", "accuracy", "accuracy_per_token"}),
    ("questions", "bert", {"loss", "accuracy"}),
    ("classes", "llama", {"loss", "accuracy", "f1", "matthews"}),
    ("classes", "bert", {"loss", "accuracy", "f1", "matthews"}),
    ("images", "digits-vit", {"loss", "accuracy", "f1", "matthews"}),
]


@pytest.mark.parametrize(("name", "backbone", "metrics"), KINDS, ids=[f"{name}-{on}" for name, on, _ in KINDS])
def test_every_kind_is_trained_evaluated_and_recorded(
    name: str,
    backbone: str,
    metrics: set[str],
    data: dict[str, Any],
    backbones: dict[str, str],
    tmp_path: Path,
) -> None:
    record = run(study(data[name], backbones.get(backbone, backbone)), tmp_path)
    assert record["status"] == "finished", record["reason"]
    assert set(record["metrics"]) == set(record["train_metrics"]) == metrics
    assert [set(point) - {"step"} for point in record["validation"]] == [metrics, metrics]
    for found in (record["metrics"], record["train_metrics"]):
        assert 0 <= found.get("accuracy", 0.5) <= 1
        assert all(math.isfinite(value) for value in found.values())
    assert record["examples_seen"] == 3 + 3 + 1 + 3, "seven examples in batches of three, and then from the start"
    if name == "images":
        assert record["tokens_seen"] == 0
        assert record["tokens_per_second"] is None
    else:
        assert record["tokens_per_second"] > 0
        longest = 48 * (3 if (name, backbone) == ("questions", "bert") else 1)
        assert 0 < record["tokens_seen"] <= 10 * longest
    assert record["divergence"] is None
    assert (record["chance"] is None) == (name == "text")
    assert record["layers"], "the layers are compared with the pretrained ones"
    assert (tmp_path / "adapter_model.safetensors").is_file()
    assert_predictions_are_those_of_the_metrics(record, load_predictions(tmp_path / record["predictions"]), name)


def assert_predictions_are_those_of_the_metrics(record: dict[str, Any], found: dict[str, Any], name: str) -> None:
    metrics = record["metrics"]
    assert list(found["example"]) == list(range(4)), "of every test example, by its place in the split"
    assert found["loss"].dtype == np.float32
    assert ("correct" in found) == (name != "text")
    if name != "text":
        assert found["correct"].dtype == bool
        assert found["correct"].mean() == metrics["accuracy"]
    if (name, set(metrics)) != ("questions", {"loss", "accuracy", "accuracy_per_token"}):
        # Options have different lengths, so that the mean over tokens is not the mean over questions.
        assert found["loss"].mean() == pytest.approx(metrics["loss"], rel=0.1 if name == "text" else 1e-4)


# -- text ---------------------------------------------------------------------------------------------------


def test_the_loss_of_a_text_is_that_of_all_its_tokens_however_they_are_batched(
    data: dict[str, Any], backbones: dict[str, str], tmp_path: Path
) -> None:
    several = [
        run(study(data["text"], backbones["llama"], eval_batch_size=size, test_examples=None), tmp_path / str(size))
        for size in (1, 3, 64)
    ]
    losses = [record["metrics"]["loss"] for record in several]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    for record in several:
        assert record["metrics"]["perplexity"] == pytest.approx(math.exp(record["metrics"]["loss"]))


def test_blocks_hold_the_text_and_evaluated_ones_keep_its_end(data: dict[str, Any], backbones: dict[str, str]) -> None:
    kind = kind_for(data["text"], backbones["llama"])
    for split in ("train", "validation", "test"):
        text = "[END]".join([*kind.task.split(split).texts, ""])
        rows = kind.evaluation_rows(48, split, None)
        held = kind.tokenizer.decode([token for row in rows for token in row["input_ids"]])
        assert text.startswith(held)
        assert len(text) - len(held) < (48 if split == "train" else 2)
        assert {len(row["input_ids"]) for row in rows[:-1]} == {48}
    drawn = kind.drawn_rows(48, None, seed=5, training=True)
    assert sorted(map(str, drawn)) == sorted(map(str, kind.evaluation_rows(48, "train", None)))
    assert kind.drawn_rows(48, 4, seed=5, training=True) == drawn[:4]
    assert kind.drawn_rows(48, None, seed=6, training=True) != drawn


def test_a_large_vocabulary_is_evaluated_in_smaller_batches(data: dict[str, Any], backbones: dict[str, str]) -> None:
    text, questions = (kind_for(data[name], backbones["llama"]) for name in ("text", "questions"))
    assert text.evaluation_batch_size(128, 64) == 128
    assert text.evaluation_batch_size(128, 10_000) == 2**26 // (10_000 * len(text.tokenizer))
    assert questions.evaluation_batch_size(128, 10_000) == text.evaluation_batch_size(3 * 128, 10_000) // 3
    assert text.evaluation_batch_size(128, 10**9) == 1


# -- questions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["llama", "bert"])
def test_where_the_right_option_stands_tells_a_model_nothing(
    backbone: str, data: dict[str, Any], backbones: dict[str, str]
) -> None:
    kind = kind_for(data["questions"], backbones[backbone])
    assert type(kind) is {"llama": OptionLikelihood, "bert": OptionPairs}[backbone]
    examples = kind.task.split("test")
    turned = type(examples)(
        examples.texts,
        [(*options[1:], options[0]) for options in examples.options],
        [(right - 1) % 3 for right in examples.labels],
    )
    for rows, others in zip(kind.encode(examples, 48, False), kind.encode(turned, 48, False), strict=True):
        assert rows["rows"][0] == others["rows"][0], "the right one is in front"
        assert sorted(map(str, rows["rows"])) == sorted(map(str, others["rows"]))


@torch.no_grad()
def test_an_option_is_scored_by_the_likelihood_of_its_own_tokens(
    data: dict[str, Any], backbones: dict[str, str]
) -> None:
    kind = kind_for(data["questions"], backbones["llama"])
    rows = kind.evaluation_rows(400, "test", 3)
    model = kind.load().eval()
    batch = kind.collator()(rows)
    kept = kind.scores(model(**batch).logits, batch["labels"])
    assert kept.shape == (3, 3, 2)
    examples = kind.task.split("test").first(3)
    for i, (question, options, right) in enumerate(zip(examples.texts, examples.options, examples.labels, strict=True)):
        asked = kind.tokenizer(f"Question: {question}\nAnswer:")["input_ids"]
        for place, option in enumerate([options[right], *options[:right], *options[right + 1 :]]):
            answer = kind.tokenizer(f" {option}", add_special_tokens=False)["input_ids"]
            logits = model(input_ids=torch.tensor([asked + answer])).logits[0].log_softmax(-1)
            wanted = sum(float(logits[len(asked) - 1 + k, token]) for k, token in enumerate(answer))
            assert float(kept[i, place, 0]) == pytest.approx(wanted, rel=1e-4)
            assert float(kept[i, place, 1]) == len(answer)


def test_an_answer_is_right_where_it_is_above_all_others() -> None:
    kind = OptionLikelihood.__new__(OptionLikelihood)
    likelihood = np.array([[-1.0, -2, -3], [-2, -1, -3], [-1, -1, -3], [np.nan, -1, -2], [-4, -5, -6]])
    tokens = np.array([[1.0, 1, 1], [4, 1, 1], [1, 1, 1], [1, 1, 1], [2, 5, 1]])
    found = kind.compute_metrics(np.stack([likelihood, tokens], axis=-1), None)
    assert found["accuracy"] == 2 / 5, "a tie is wrong, and so is what is no number"
    assert found["accuracy_per_token"] == 2 / 5, "the second is right by token, and the last one is not"
    assert OptionPairs.__new__(OptionPairs).compute_metrics(likelihood, None) == {"accuracy": 2 / 5}


def test_what_is_trained_on_are_the_tokens_of_the_right_option(data: dict[str, Any], backbones: dict[str, str]) -> None:
    kind = kind_for(data["questions"], backbones["llama"])
    examples = kind.task.split("train")
    for length in (400, 20):
        for row, options, right in zip(
            kind.encode(examples, length, True), examples.options, examples.labels, strict=True
        ):
            (only,) = row["rows"]
            answer = [token for token in only["labels"] if token != -100]
            assert kind.tokenizer.decode(answer) == f" {options[right]}"
            assert only["input_ids"][-len(answer) :] == answer
            assert len(only["input_ids"]) <= length


# -- images -------------------------------------------------------------------------------------------------


def test_placements_know_the_roles_of_the_digits_vit() -> None:
    model = kind_for({"name": "digits", "options": {}}, "digits-vit").empty()
    roles = [role_of(name, model.config.model_type) for name, _ in model.named_modules()]
    assert {role: roles.count(role) for role in ("q", "k", "v", "o", "up", "down")} == dict.fromkeys("qkvo", 4) | {
        "up": 4,
        "down": 4,
    }


def test_the_digits_vit_is_made_once_the_same_each_time_and_without_touching_the_random_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    monkeypatch.setenv("LRLORA_CACHE", str(tmp_path))
    monkeypatch.setattr(DigitsVit, "make", lambda self, name: made(self, name, steps=2))
    said: list[str] = []
    torch.manual_seed(1)
    prepare_backbone("digits-vit", said.append)
    after = torch.rand(())
    place = BACKBONES["digits-vit"].directory("digits-vit")
    first = load_file(place / "model.safetensors")
    prepare_backbone("digits-vit", said.append)
    assert len(said) == 1
    assert "pretraining the backbone digits-vit once" in said[0]
    torch.manual_seed(1)
    assert torch.rand(()) == after
    DigitsVit().make("digits-vit")
    again = load_file(place / "model.safetensors")
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any("classifier" in name for name in first), "the head of the digits 0 to 4 stays behind"


made = DigitsVit.make


# -- what does not fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "backbone", "changes", "says"),
    [
        (
            "text",
            "bert",
            {},
            "takes text, and language-modelling tasks give text to go on with; take for example smollm2",
        ),
        ("images", "bert", {}, "takes text, and images tasks give images; take for example digits-vit"),
        ("classes", "digits-vit", {}, "takes images, and classification tasks give text"),
        ("questions", "digits-vit", {}, "takes images, and multiple-choice tasks give text"),
        (
            "questions",
            "bert",
            {"metric": "accuracy_per_token"},
            "unknown metric 'accuracy_per_token'; did you mean 'accuracy'",
        ),
        ("text", "llama", {"metric": "accuracy"}, "unknown metric 'accuracy' (known: loss, perplexity)"),
        ("images", "digits-vit", {"tokens": 1000}, "training.tokens=1000 has no effect on images tasks"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line_before_anything_runs(
    name: str,
    backbone: str,
    changes: dict[str, Any],
    says: str,
    data: dict[str, Any],
    backbones: dict[str, str],
    tmp_path: Path,
) -> None:
    with pytest.raises(StudyError) as caught:
        run(study(data[name], backbones.get(backbone, backbone), **changes), tmp_path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_metric_is_better_in_one_direction_only(data: dict[str, Any], backbones: dict[str, str]) -> None:
    wrong = study(data["text"], backbones["llama"]).model_dump() | {"metric": {"name": "perplexity"}}
    with pytest.raises(StudyError, match=r"a lower perplexity is better; set metric\.direction=minimize"):
        check_design(Study.from_dict(wrong))


# -- the gap, and divergence --------------------------------------------------------------------------------


def test_the_training_metrics_are_of_examples_that_were_trained_on(
    data: dict[str, Any], backbones: dict[str, str]
) -> None:
    task, backbone = data["classes"], backbones["bert"]
    trained = encode_training(task, backbone, 48, 7, 3)
    assert encode_seen(task, backbone, 48, 5, 3) == trained[:5]
    for split in ("validation", "test"):
        assert not any(row in trained for row in encode_split(task, backbone, 48, split, None))


def test_a_tuning_run_looks_neither_at_the_test_split_nor_back_at_the_training(
    data: dict[str, Any], backbones: dict[str, str], tmp_path: Path
) -> None:
    record = run(study(data["classes"], backbones["bert"], test_examples=0), tmp_path)
    assert record["judged_on"] == "validation"
    assert record["train_metrics"] == {}


@pytest.mark.parametrize(("name", "backbone"), [("text", "llama"), ("classes", "bert"), ("images", "digits-vit")])
def test_a_run_that_diverges_says_where_it_began(
    name: str, backbone: str, data: dict[str, Any], backbones: dict[str, str], tmp_path: Path
) -> None:
    record = run(study(data[name], backbones.get(backbone, backbone), learning_rate=1e30, steps=12), tmp_path)
    assert record["status"] == "diverged"
    assert record["metrics"] == record["train_metrics"] == {}
    found = record["divergence"]
    assert set(found) == {"step", "module", "tensor", "grad_norms_before"}
    assert 2 <= found["step"] <= record["diverged_at"], "the first step was from finite parameters"
    assert found["tensor"] == "output"
    assert ".0." in found["module"], "in the first layer, which is the first to meet the new parameters"
    assert found["grad_norms_before"] == record["grad_norm"][: found["step"] - 1][-10:]
    assert json.loads(json.dumps(record, allow_nan=False)) == record
