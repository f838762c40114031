"""Whatever a study file or a user's file holds, there is a result or one line, and never a traceback.

``nox -s fuzz`` runs each with 100,000 inputs; the number is that of ``LRLORA_FUZZ_EXAMPLES``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from lrlora.registry import UnknownNameError
from lrlora.studies.errors import StudyError
from lrlora.studies.execution.checks import check_design
from lrlora.studies.execution.single import BUDGET, SingleRun, load_single
from lrlora.studies.methods import METHODS
from lrlora.studies.spec.cells import expand_cells
from lrlora.studies.spec.claims import Claim
from lrlora.studies.spec.plain_yaml import parse_yaml
from lrlora.studies.spec.study import Metric, Study, Training, Tuning
from lrlora.studies.tasks import SPLITS, TASKS, make_task

FUZZED = settings(
    max_examples=int(os.environ.get("LRLORA_FUZZ_EXAMPLES", "40")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


def result_or_line(make: Callable[[], Any]) -> Any:
    """What a function returns, or None where it refuses in one line, as the command line passes it on."""
    try:
        return make()
    except (StudyError, UnknownNameError) as error:
        message = " ".join(str(error).split())
        assert message, "an error without a message"
        assert len(message) < 3000, f"too long a message: {message[:200]}"
        return None


# -- study files --------------------------------------------------------------------------------------------

WORDS = [
    *METHODS.names(), *TASKS.names(), *Training.model_fields, *Study.model_fields, "sinc", "gaussian", "a", "b", "*",
    "a*", "quick", "minilm", "digits-vit", "accuracy", "loss", "uniform", "all", "small:0.1", "small:", ":", "None",
    "nan", "no", "1e-3", "", " ", "\n", "a.b", "../x", "é", "😀", "{}", "[bold]", "%s", "x" * 300,
]  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 40)
    | st.sampled_from([2**31, 2**64, -(2**70), 10**400])
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=8,
)

GOOD: dict[str, Any] = {
    "name": "x",
    "task": {"name": "digits"},
    "backbone": "digits-vit",
    "base": {"method": "lrlora", "r": 4, "basis_kwargs": {}},
    "axes": {"basis": ["sinc", "gaussian"]},
    "variants": {"a": {"r": 2}},
    "baselines": {"b": {"method": "lora", "r": 4, "training": {"learning_rate": 1e-3}}},
    "reference": "b",
    "claims": [{"says": "it is better", "of": "a", "against": "b"}],
    "comparisons": [{"of": "a", "against": "b"}],
    "metric": {"name": "accuracy"},
    "seeds": [1, 2],
    "training": {"steps": 3},
    "tune": {"grid": {"r": [2, 4]}},
    "budgets": {"quick": {"steps": 2}},
}
METHOD_FIELDS = ["method"] + [f for name in ("lrlora", "lora", "adalora", "vera") for f in METHODS.get(name).fields()]  # type: ignore[attr-defined]
PLACES = [
    *Study.model_fields,
    "extra",
    *(f"training.{name}" for name in Training.model_fields),
    *(f"budgets.quick.{name}" for name in (*Training.model_fields, "tune", "task", "seeds", "backbone")),
    *(f"metric.{name}" for name in Metric.model_fields),
    *(f"tune.{name}" for name in Tuning.model_fields),
    *(f"claims.0.{name}" for name in Claim.model_fields),
    *(f"task.{name}" for name in ("name", "options", "train", "text")),
    *(f"{where}.{name}" for where in ("base", "axes", "variants.a", "baselines.b") for name in METHOD_FIELDS),
    "axes.basis",
    "axes.training.learning_rate",
    "axes.r,lora_alpha",
    "variants.a.training",
    "variants.a.basis_kwargs.degree",
    "variants.new",
    "tune.grid.r",
    "comparisons.0.of",
]  # fmt: skip


def put(data: Any, path: list[str], value: Any) -> Any:
    """A copy of nested data with one value replaced; what is on the way and holds no keys is replaced as well."""
    if not path:
        return value
    if isinstance(data, list) and path[0] == "0" and data:
        return [put(data[0], path[1:], value), *data[1:]]
    inner = dict(data) if isinstance(data, dict) else {}
    inner[path[0]] = put(inner.get(path[0]), path[1:], value)
    return inner


changes = st.dictionaries(st.sampled_from(PLACES), values, min_size=1, max_size=3)


@FUZZED
@given(changes, changes | st.just({}), st.sampled_from(["quick", "quick", "full", ""]))
def test_any_value_at_any_key_of_a_study(files: dict[str, Any], overrides: dict[str, Any], budget: str) -> None:
    data = GOOD
    for place, value in files.items():
        # An axis or setting may have dots in its name, as in training.learning_rate.
        parts = place.split(".", 1) if place.startswith("axes.") else place.split(".")
        data = put(data, parts, value)
    text = yaml.safe_dump(data, allow_unicode=True)
    lines = [f"{place}={yaml.safe_dump(value, default_flow_style=True)}" for place, value in overrides.items()]

    def make() -> None:
        study = Study.from_dict(parse_yaml(text, "t.yaml"), lines, where="t.yaml").resolve(budget)
        check_design(study)
        for cell in expand_cells(study):
            json.dumps({"id": cell.id, "label": cell.label})
        again = Study.from_dict(json.loads(json.dumps(study.model_dump(mode="json"))), where="study.json")
        assert [cell.id for cell in expand_cells(again)] == [cell.id for cell in expand_cells(study)]

    result_or_line(make)


@FUZZED
@given(st.data())
def test_a_study_file_with_any_piece_replaced(data: st.DataObject) -> None:
    text = yaml.safe_dump(GOOD)
    at = data.draw(st.integers(0, len(text)))
    piece = data.draw(
        st.text(max_size=6) | st.sampled_from(["\n", "\t", "- ", ": ", "*a", "&a ", "<<: ", "---\n", "!!int "])
    )
    cut = data.draw(st.integers(0, 6))
    found = result_or_line(lambda: parse_yaml(text[:at] + piece + text[at + cut :], "t.yaml"))
    if isinstance(found, dict):
        result_or_line(lambda: Study.from_dict(found, where="t.yaml"))


single_runs = st.dictionaries(st.sampled_from([*SingleRun.model_fields, "x"]), values, max_size=3)


@FUZZED
@given(
    content=st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | single_runs.map(lambda data: yaml.safe_dump(data).encode())
)
def test_any_bytes_as_a_file_of_one_run(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "t.yaml"
    file.write_bytes(content)
    result_or_line(lambda: check_design(load_single(file).resolve(BUDGET)))


# -- users' files -------------------------------------------------------------------------------------------

PIECES = [
    b",", b"\t", b";", b'"', b'""', b"\n", b"\r\n", b"\r", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe9", b"text",
    b"label", b"text,label\n", b"a,b\n", b"[", b"]", b"{", b"}", b":", b'"text"', b'"label"',
    b'{"text": "a", "label": 1}',
    b"NaN", b"null", b"1e999", b"01", b"-", b"true", b"\\ud800", b" ", b"question", b"options", b"answer",
    "é漢😀\u2028".encode(), b"PAR1",
]  # fmt: skip
contents = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=14).map(b"".join)


def hold_together(name: str, options: dict[str, Any]) -> None:
    """A task that can be made has three splits of texts that can be encoded, and labels that are its classes."""

    def make() -> None:
        task = make_task(name, options)
        task.prepare(lambda line: line.encode())
        for split in SPLITS:
            found = vars(task.split(split))
            assert found["texts"]
            for text in found["texts"]:
                assert text.strip()
                text.encode()
            assert set(found.get("labels", ())) <= set(range(len(task.labels)))

    result_or_line(make)


@FUZZED
@given(
    content=contents,
    ending=st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt"]),
    name=st.sampled_from(["files", "text-files", "question-files"]),
)
def test_any_bytes_as_a_users_file(tmp_path: Path, content: bytes, ending: str, name: str) -> None:
    file = tmp_path / f"t{ending}"
    file.write_bytes(content)
    hold_together(name, {"train": str(file)})


cells = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=2), scalars, max_size=2)
labels = st.sampled_from([0, 1, 0.0, "0", "a", "a ", "A", True, "true", None, float("nan")]) | cells
rows = st.lists(st.tuples(st.sampled_from(WORDS) | st.text(max_size=4), labels), max_size=20)


@FUZZED
@given(
    train=rows,
    test=rows,
    name=st.sampled_from(["files", "text-files"]),
    ending=st.sampled_from([".json", ".jsonl", ".csv"]),
)
def test_any_cells_in_a_users_table(tmp_path: Path, train: list[Any], test: list[Any], name: str, ending: str) -> None:
    options = {}
    for split, found in (("train", [*train, *((f"t {i}", "ab"[i % 2]) for i in range(20))]), ("test", test)):
        file = tmp_path / f"{split}{ending}"
        objects = [{"text": text, "label": label} for text, label in found]
        if ending == ".csv":
            content = "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in found)
        elif ending == ".json":
            content = json.dumps(objects)
        else:
            content = "\n".join(map(json.dumps, objects))
        file.write_text(content, encoding="utf-8", newline="")
        options[split] = str(file)
    hold_together(name, options if test else {"train": options["train"]})


@FUZZED
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=5) | st.none(), min_size=1, max_size=12),
    kind=st.sampled_from(
        [pa.int8(), pa.float32(), pa.bool_(), pa.string(), pa.binary(), pa.date32(), pa.null(), pa.list_(pa.int8())]
    ),
    data=st.data(),
)
def test_any_column_of_parquet(tmp_path: Path, texts: list[Any], kind: pa.DataType, data: st.DataObject) -> None:
    drawn = {
        "int8": st.integers(-2, 2), "float": st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf")]),
        "bool": st.booleans(), "string": st.text(st.characters(codec="utf-8"), max_size=2),
        "binary": st.binary(max_size=2),
        "date32[day]": st.dates(), "null": st.none(), "list<item: int8>": st.lists(st.integers(0, 2), max_size=2),
    }[str(kind)]  # fmt: skip
    column = [data.draw(drawn | st.none()) for _ in texts]
    file = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"text": pa.array(texts, pa.string()), "label": pa.array(column, kind)}), file)
    hold_together("files", {"train": str(file)})


@FUZZED
@given(
    asked=st.lists(
        st.fixed_dictionaries(
            {"question": scalars, "options": st.lists(scalars, max_size=4) | scalars, "answer": scalars}
        ),
        max_size=6,
    )
)
def test_any_questions(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    file = tmp_path / "t.jsonl"
    good = [{"question": f"q {i}", "options": ["x", "y"], "answer": "A"} for i in range(9)]
    file.write_text("\n".join(map(json.dumps, [*good, *asked])), encoding="utf-8")
    hold_together("question-files", {"train": str(file)})


@pytest.mark.parametrize("name", ["files", "text-files", "question-files"])
@FUZZED
@given(option=values)
def test_any_option_of_a_task_on_files(tmp_path: Path, name: str, option: Any) -> None:
    file = tmp_path / "t.csv"
    file.write_text("text,label\na,b\n", encoding="utf-8")
    column = "question" if name == "question-files" else "text"
    for options in ({"train": option}, {"train": str(file), "test": option}, {"train": str(file), column: option}):
        hold_together(name, options)
