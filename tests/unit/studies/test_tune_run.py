"""A search starts from the untuned variant, resumes where it stopped, records what goes wrong, hands on what it found.

Training is replaced by a formula, so that what is tested is the search.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from rich.console import Console

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.checks import check_folder
from lrlora.studies.record.run_record import RunRecord
from lrlora.studies.search import run
from lrlora.studies.search.declaration import Tune, declare
from lrlora.studies.search.outcome import Outcome, load_outcome
from lrlora.studies.search.plots import NEEDED
from lrlora.studies.search.report import page, print_outcome, report_data, write_report
from lrlora.studies.search.run import run_tune
from lrlora.studies.search.space import Dimension
from lrlora.studies.search.trials import INDEX, OUTCOME, REASON, RUNS, VALUES, Trials, open_storage, quiet_optuna
from lrlora.studies.search.tuned_file import write_tuned
from lrlora.studies.spec.cells import Cell, expand_variants
from lrlora.studies.spec.fingerprints import Fingerprints
from lrlora.studies.spec.study import Study
from lrlora.studies.training.history import StepListener

# What MLflow's tables say of the future, when they are first made.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore:The ``noload`` loader strategy")

QUIET = Console(quiet=True)
STUDY = """
name: tiny
base: {method: lrlora, r: 2}
axes: {basis: [sinc, gaussian]}
baselines: {lora: {method: lora, r: 2}}
reference: lora
claims: [{says: Sinc is above LoRA, of: sinc}, {says: Gaussian is above LoRA, of: gaussian}]
seeds: [1]
training: {learning_rate: 1.0e-3, steps: 8, eval_every: 2}
budgets: {smoke: {steps: 8}, full: {steps: 80}}
"""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store of Optuna: to make the tables takes seconds, to copy them nothing."""
    folder = tmp_path_factory.mktemp("stores")
    open_storage(folder).engine.dispose()
    return folder


@pytest.fixture(autouse=True)
def _ready_made_stores(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_store(out: Path) -> Any:
        if not (out / "optuna.db").exists():
            shutil.copy(stores / "optuna.db", out / "optuna.db")
        return open_storage(out)

    monkeypatch.setattr(run, "open_storage", open_store)


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained, so that no data are read."""
    monkeypatch.setattr(Fingerprints, "data", lambda self, task, split: "one")
    monkeypatch.setattr(Fingerprints, "weights", lambda self, backbone: "two")


def declared(folder: Path, *variants: str, trials: int = 4, **arguments: Any) -> Tune:
    path = folder / "tiny.yaml"
    path.write_text(STUDY)
    return declare(str(path), variants or ["lora"], "smoke", trials=trials, **arguments)


def accuracy(cell: Cell) -> float:
    """Best at a learning rate of 1e-2, where it is 0.9, and a little different for each seed."""
    return 0.9 - 0.1 * abs(math.log10(cell.variant.training.learning_rate) + 2) + 0.001 * (cell.seed % 5)


def formula(cell: Cell, folder: Path, listen: StepListener) -> dict[str, Any]:
    """A run whose validations approach what :func:`accuracy` says."""
    figure, steps = accuracy(cell), cell.variant.training.steps
    validation = []
    for step in range(1, steps + 1):
        listen(step, {"train/loss": 1.0 / step})
        if step % cell.variant.training.eval_every == 0:
            now = {"accuracy": figure * step / steps, "loss": 1 - figure}
            validation.append({"step": step, **now})
            listen(step, {f"validation/{name}": value for name, value in now.items()})
    record = RunRecord.of(cell).plain() | {"status": "finished", "judged_on": "validation", "train_loss": [1.0] * steps}
    return record | {"metrics": {"accuracy": figure, "loss": 1 - figure}, "validation": validation}


def counted(calls: list[Cell], trained: Callable[..., dict[str, Any]] = formula) -> Callable[..., dict[str, Any]]:
    def run_cell(cell: Cell, folder: Path, listen: StepListener) -> dict[str, Any]:
        calls.append(cell)
        return trained(cell, folder, listen)

    return run_cell


def tried(outcome: Outcome, name: str = "lora") -> list[tuple[int, dict[str, Any], float | None]]:
    (one,) = [one for one in outcome.variants if one.name == name]
    return [(trial.user_attrs[INDEX], one.settings(trial), trial.value) for trial in one.trials]


def test_the_untuned_variant_is_the_first_trial_and_the_best_is_no_worse(tmp_path: Path) -> None:
    outcome = run_tune(declared(tmp_path, "lora"), tmp_path / "out", console=QUIET, run_cell=formula)
    (one,) = outcome.variants
    assert one.counts() == {"complete": 4}
    assert one.default is not None
    assert one.settings(one.default) == {"training.learning_rate": 1e-3}
    assert one.default.value == pytest.approx(0.8 + (0.002 + 0.003) / 2)
    assert one.difference is not None
    assert one.difference >= 0


def test_an_untuned_variant_outside_of_the_space_is_tried_first_and_nothing_else_leaves_the_space(
    tmp_path: Path,
) -> None:
    space = {
        "training.learning_rate": Dimension(low=1e-5, high=1e-4, log=True),
        "amplitude_init": Dimension(values=["small:0.01", "small:0.02"]),
        "bandwidth_init": Dimension(low=2.0, high=3.0, when={"amplitude_init": ["small:0.01"]}),
    }
    chosen = declared(tmp_path, "sinc", trials=14, space=space, overrides=["tune.seeds=[7]"])
    outcome = run_tune(chosen, tmp_path / "out", console=QUIET, run_cell=formula)
    (one,) = outcome.variants
    assert one.counts() == {"complete": 14}
    first, *others = map(one.settings, one.trials)
    assert first == {"training.learning_rate": 1e-3, "amplitude_init": "zero"}
    for found in others:
        assert 1e-5 <= found["training.learning_rate"] <= 1e-4
        assert ("bandwidth_init" in found) == (found["amplitude_init"] == "small:0.01")
    assert one.best is one.default


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_an_interrupted_search_goes_on_to_the_very_trials_of_one_that_was_not(tmp_path: Path, stop: int) -> None:
    whole = tmp_path / "whole"
    untouched = run_tune(declared(tmp_path, "lora"), whole, console=QUIET, run_cell=formula)
    calls: list[Cell] = []

    def impatient(cell: Cell, folder: Path, listen: StepListener) -> dict[str, Any]:
        if len(calls) == stop:
            signal.raise_signal(signal.SIGTERM)
        return counted(calls)(cell, folder, listen)

    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        run_tune(declared(tmp_path, "lora"), broken, console=QUIET, run_cell=impatient)
    assert len(tried(load_outcome(broken))) == stop // 2
    resumed = run_tune(declared(tmp_path, "lora"), broken, console=QUIET, run_cell=counted(calls))
    assert tried(resumed) == tried(untouched)
    assert len(calls) == 4 * 2, "no run is made twice"


def test_the_same_command_again_runs_nothing_and_more_trials_join(tmp_path: Path) -> None:
    calls: list[Cell] = []
    out = tmp_path / "out"
    first = run_tune(declared(tmp_path, "lora", trials=2), out, console=QUIET, run_cell=counted(calls))
    again = run_tune(declared(tmp_path, "lora", trials=2), out, console=QUIET, run_cell=counted(calls))
    assert tried(first) == tried(again)
    assert len(calls) == 2 * 2
    more = run_tune(declared(tmp_path, "lora", trials=3), out, console=QUIET, run_cell=counted(calls))
    assert tried(more)[:2] == tried(first)
    assert len(tried(more)) == 3


def test_a_trial_whose_process_died_is_retried_under_its_index_with_its_settings(tmp_path: Path) -> None:
    (subject,) = declared(tmp_path, "lora").subjects
    storage = open_storage(tmp_path)
    trials = Trials(storage, subject, "maximize", optuna.pruners.NopPruner())
    seen: list[tuple[int, dict[str, Any]]] = []

    def evaluate(trial: optuna.Trial, found: dict[str, Any]) -> float:
        seen.append((trial.user_attrs[INDEX], found))
        trial.set_user_attr(OUTCOME, "complete")
        return 0.5

    assert trials.run_next(3, evaluate)
    space = {name: one.distribution(subject.defaults.get(name)) for name, one in subject.space.items()}
    with quiet_optuna():
        lost = trials.study.ask(space)
    lost.set_user_attr(INDEX, 1)
    storage.record_heartbeat(lost._trial_id)
    assert trials.running() == 1
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'"))
    assert trials.run_next(3, evaluate)
    assert trials.run_next(3, evaluate)
    assert not trials.run_next(3, evaluate)
    assert [index for index, _ in seen] == [0, 1, 2]
    assert seen[1] == (1, lost.params)
    assert trials.ended() == 3


def test_a_run_that_diverges_is_a_bad_result_and_no_crash(tmp_path: Path) -> None:
    def wild(cell: Cell, folder: Path, listen: StepListener) -> dict[str, Any]:
        if cell.variant.training.learning_rate != 1e-3:
            return RunRecord.of(cell).plain() | {
                "status": "diverged",
                "diverged_at": 1,
                "reason": "the loss is not finite",
            }
        return formula(cell, folder, listen)

    outcome = run_tune(declared(tmp_path, "lora"), tmp_path / "out", console=QUIET, run_cell=wild)
    (one,) = outcome.variants
    assert one.counts() == {"complete": 1, "diverged": 3}
    assert one.best is one.default
    assert "no trial was better than the untuned variant" in " ".join(outcome.warnings())
    assert all(trial.user_attrs[REASON] == "the loss is not finite" for trial in one.trials[1:])


def test_a_run_that_fails_is_told_with_its_trace_and_the_search_goes_on(tmp_path: Path) -> None:
    def broken(cell: Cell, folder: Path, listen: StepListener) -> dict[str, Any]:
        if "trial 1" in cell.variant.name:
            raise RuntimeError("the disk is full")
        return formula(cell, folder, listen)

    outcome = run_tune(declared(tmp_path, "lora", trials=3), tmp_path / "out", console=QUIET, run_cell=broken)
    (one,) = outcome.variants
    assert [trial.user_attrs[OUTCOME] for trial in one.trials] == ["complete", "failed", "complete"]
    assert "the disk is full" in str(one.trials[1].user_attrs[REASON])


def test_settings_that_do_not_go_together_are_refused_and_the_search_goes_on(tmp_path: Path) -> None:
    space = {"centered": Dimension(values=[True]), "residual": Dimension(values=[True, False])}
    space["amplitude_init"] = Dimension(values=["zero", "identity"], when={"residual": [False]})
    chosen = declared(tmp_path, "sinc", trials=12, space=space)
    outcome = run_tune(chosen, tmp_path / "out", console=QUIET, run_cell=formula)
    (one,) = outcome.variants
    refused = [trial for trial in one.trials if trial.user_attrs[OUTCOME] == "refused"]
    assert refused, "centred, no residual, a = 0 is drawn within twelve trials"
    assert all(one.settings(trial)["amplitude_init"] == "zero" for trial in refused)
    assert len(one.trials) == 12


def test_wilcoxon_gives_up_a_trial_once_four_seeds_are_worse(tmp_path: Path) -> None:
    space = {"training.learning_rate": Dimension(values=[1e-6, 1e-3])}
    chosen = declared(tmp_path, "lora", trials=6, space=space, overrides=["tune.seeds=[5, 6, 7, 8, 9, 10]"])
    assert chosen.pruner == "wilcoxon"
    outcome = run_tune(chosen, tmp_path / "out", console=QUIET, run_cell=formula)
    (one,) = outcome.variants
    pruned = [trial for trial in one.trials if trial.user_attrs[OUTCOME] == "pruned"]
    assert pruned
    assert all(4 <= len(trial.user_attrs[VALUES]) < 6 for trial in pruned)
    assert all(one.settings(trial)["training.learning_rate"] == 1e-6 for trial in pruned)
    assert one.best is not None
    assert one.settings(one.best) == {"training.learning_rate": 1e-3}


def test_hyperband_stops_a_run_in_its_middle_and_never_the_untuned_variant(tmp_path: Path) -> None:
    steps: dict[str, int] = {}

    def watched(cell: Cell, folder: Path, listen: StepListener) -> dict[str, Any]:
        def count(step: int, figures: Any) -> None:
            steps[f"{cell.variant.name} {cell.seed}"] = step
            listen(step, figures)

        return formula(cell, folder, count)

    chosen = declared(tmp_path, "lora", trials=14, pruner="hyperband")
    outcome = run_tune(chosen, tmp_path / "out", console=QUIET, run_cell=watched)
    (one,) = outcome.variants
    assert one.counts()["pruned"] > 0
    assert one.default is not None
    assert min(steps.values()) < 8
    assert steps["lora, trial 0 7"] == steps["lora, trial 0 8"] == 8


def test_every_run_is_in_mlflow_under_its_trial(tmp_path: Path) -> None:
    from lrlora.studies.record.tracking import open_client

    out = tmp_path / "out"
    outcome = run_tune(declared(tmp_path, "lora", trials=2), out, console=QUIET, run_cell=formula)
    client = open_client(out)
    (one,) = outcome.variants
    for trial in one.trials:
        runs = [client.get_run(run) for run in trial.user_attrs[RUNS]]
        assert [run.data.tags["lrlora.trial"] for run in runs] == [str(trial.user_attrs[INDEX])] * 2
        assert {run.info.status for run in runs} == {"FINISHED"}
        rates = {float(run.data.params["training.learning_rate"]) for run in runs}
        assert rates == {one.settings(trial)["training.learning_rate"]}


def test_the_file_that_is_left_is_a_study_with_the_tuned_settings(tmp_path: Path) -> None:
    chosen = declared(tmp_path, "sinc", "lora", overrides=["axes.basis=[sinc]", "training.batch_size=4"])
    outcome = run_tune(chosen, tmp_path / "out", console=QUIET, run_cell=formula)
    path = write_tuned(outcome)
    assert "extends: ../tiny.yaml" in path.read_text()
    study = Study.load(path).resolve("smoke")
    variants = {variant.name: variant for variant in expand_variants(study)}
    assert set(variants) == {"sinc", "lora"}
    for subject, one in zip(chosen.subjects, outcome.variants, strict=True):
        assert one.best is not None
        wanted = subject.variant(one.settings(one.best))
        assert variants[one.name].config == wanted.config
        assert variants[one.name].training.learning_rate == wanted.training.learning_rate
        assert variants[one.name].training.batch_size == 4
        assert variants[one.name].training.test_examples is None
    assert study.seeds == [1]
    assert Study.load(path).resolve("full").training.steps == 80
    assert [claim.of for claim in study.claims] == ["sinc"], "a claim on what was left out is left out"


def test_a_study_of_the_catalogue_is_extended_by_its_name(tmp_path: Path) -> None:
    chosen = declare("basis", ["lora"], "smoke", trials=1)
    outcome = run_tune(chosen, tmp_path, console=QUIET, run_cell=formula_without_validations)
    path = write_tuned(outcome)
    assert "extends: basis\n" in path.read_text()
    assert Study.load(path).tuned == {"lora": {"training.learning_rate": 2e-3}}
    path.write_text(path.read_text().replace("extends: basis", "extends: bassis"))
    with pytest.raises(StudyError, match="extends: unknown study 'bassis'; did you mean 'basis'"):
        Study.load(path)


def formula_without_validations(cell: Cell, folder: Path, listen: StepListener) -> dict[str, Any]:
    figures = {"accuracy": accuracy(cell), "loss": 1 - accuracy(cell)}
    return RunRecord.of(cell).plain() | {"status": "finished", "judged_on": "validation", "metrics": figures}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"overrides": ["tune.steps=4"]}, "steps is 8 there and 4 here"),
        ({"overrides": ["tune.seeds=[9]"]}, "seeds is [7, 8] there and [9] here"),
        ({"pruner": "hyperband"}, "pruner is 'none' there and 'hyperband' here"),
        (
            {"space": {"training.learning_rate": Dimension(values=[1e-3])}},
            "variants.lora.space.training.learning_rate.values is",
        ),
        ({"overrides": ["baselines.lora.r=3"]}, "variants.lora.config.r is 2 there and 3 here"),
    ],
)
def test_a_folder_of_another_search_is_refused(tmp_path: Path, arguments: dict[str, Any], says: str) -> None:
    out = tmp_path / "out"
    run_tune(declared(tmp_path, "lora", trials=1), out, console=QUIET, run_cell=formula)
    with pytest.raises(StudyError) as caught:
        run_tune(declared(tmp_path, "lora", trials=1, **arguments), out, console=QUIET, run_cell=formula)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_folders_of_studies_and_of_searches_are_kept_apart(tmp_path: Path) -> None:
    chosen = declared(tmp_path, "lora", trials=1)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.json").write_text("{}")
    with pytest.raises(StudyError, match="holds the record of something else"):
        run_tune(chosen, tmp_path / "study", console=QUIET, run_cell=formula)
    run_tune(chosen, tmp_path / "out", console=QUIET, run_cell=formula)
    with pytest.raises(StudyError, match="holds databases of something else"):
        check_folder(tmp_path / "out", chosen.study)


def test_further_variants_join_and_an_unequal_budget_is_said(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_tune(declared(tmp_path, "lora", trials=3), out, console=QUIET, run_cell=formula)
    outcome = run_tune(declared(tmp_path, "sinc", trials=1), out, console=QUIET, run_cell=formula)
    assert {one.name: len(one.trials) for one in outcome.variants} == {"lora": 3, "sinc": 1}
    assert "3 (lora), 1 (sinc) trials" in outcome.budget()
    assert any("different numbers of trials" in text for text in outcome.warnings())


def test_the_time_limit_begins_no_further_trial(tmp_path: Path) -> None:
    outcome = run_tune(declared(tmp_path, "lora"), tmp_path / "out", timeout=1e-9, console=QUIET, run_cell=formula)
    assert tried(outcome) == []
    with pytest.raises(StudyError, match="--timeout 0"):
        run_tune(declared(tmp_path, "lora"), tmp_path / "out", timeout=0, console=QUIET, run_cell=formula)


class Ids(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attrs if key == "id" and value]


def test_the_page_and_the_data_tell_the_same(tmp_path: Path) -> None:
    outcome = run_tune(declared(tmp_path, "sinc", trials=2), tmp_path / "out", console=QUIET, run_cell=formula)
    folder = write_report(outcome)
    data = json.loads((folder / "report.json").read_text())
    assert data == json.loads(json.dumps(report_data(outcome)))
    text = (folder / "index.html").read_text()
    ids = Ids()
    ids.feed(text)
    assert len(set(ids.found)) == len(ids.found), "an id occurs twice"
    for one in outcome.variants:
        assert one.best is not None
        assert all(run in text for run in one.best.user_attrs[RUNS])
        assert f"it takes {NEEDED} complete trials" in text
    assert text == page(load_outcome(tmp_path / "out")), "the same record makes the same page"
    console = Console(width=100, record=True, quiet=True)
    print_outcome(outcome, console)
