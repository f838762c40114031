"""The probes' tasks and bounds: spectra, ranks and errors are what their names say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrlora.analysis import stable_rank
from lrlora.studies.errors import StudyError
from lrlora.studies.kinds import kind_of
from lrlora.studies.kinds.matrix import svd_bound, svd_ratio
from lrlora.studies.kinds.planted import rank_correlation
from lrlora.studies.methods import make_method
from lrlora.studies.tasks import TASKS, make_task
from lrlora.studies.tasks.matrices import ENTRY
from lrlora.studies.testing import check_task
from lrlora.studies.training.starts import WITH_FACTORS, start_from_svd

MATRICES = [entry.name for entry in TASKS if entry.name.startswith("matrix-") and entry.name != "matrix-minilm"]
sizes, seeds = st.integers(8, 24), st.integers(0, 2**20)


def target(name: str, **options: Any) -> Any:
    task: Any = make_task(name, options)
    return task.target


@given(st.sampled_from(MATRICES), sizes, seeds)
def test_a_target_has_its_size_and_scale_and_is_the_same_bit_by_bit_at_every_time(
    name: str, size: int, seed: int
) -> None:
    found = target(name, size=size, seed=seed)
    assert found.shape == (size, size)
    assert np.sqrt((found**2).mean()) == pytest.approx(ENTRY)
    assert np.array_equal(found, target(name, size=size, seed=seed))


@given(sizes, seeds, st.sampled_from([0.5, 1.0, 2.0]), st.integers(1, 8))
def test_the_spectra_are_those_of_the_names(size: int, seed: int, exponent: float, rank: int) -> None:
    def values(name: str, **options: Any) -> Any:
        found = np.linalg.svd(target(name, size=size, seed=seed, **options), compute_uv=False)
        return found / found[0]

    assert values("matrix-flat") == pytest.approx(np.ones(size))
    assert values("matrix-identity") == pytest.approx(np.ones(size))
    assert values("matrix-power-law", exponent=exponent) == pytest.approx(np.arange(1, size + 1) ** -exponent)
    assert values("matrix-low-rank", rank=rank) == pytest.approx((np.arange(size) < rank).astype(float), abs=1e-12)


@given(sizes, seeds, st.floats(0.02, 0.5), st.integers(2, 6), st.floats(0.5, 3))
def test_the_structures_are_those_of_the_names(
    size: int, seed: int, share: float, blocks: int, frequency: float
) -> None:
    sparse = target("matrix-sparse", size=size, seed=seed, share=share)
    assert np.count_nonzero(sparse) == max(1, round(share * size * size))
    diagonal = target("matrix-block-diagonal", size=size, seed=seed, blocks=blocks)
    block = np.arange(size) * blocks // size
    assert np.array_equal(diagonal != 0, block[:, None] == block)
    # An elementwise function gives it from a matrix of rank 1: arcsin undoes it where the sine does not turn.
    waves = target("matrix-high-frequency", size=size, seed=seed, frequency=0.2)
    angles = np.arcsin(waves / (np.abs(waves).max() / np.sin(2 * np.pi * 0.2 * _largest_product(size, seed))))
    assert np.linalg.svd(angles, compute_uv=False)[1] < 1e-6 * np.linalg.norm(angles)


def _largest_product(size: int, seed: int) -> float:
    x, y = np.random.default_rng([seed, 1]).uniform(-1, 1, (2, size))
    return float(np.abs(np.outer(x, y)).max())


def test_the_update_of_minilm_is_a_small_one_of_a_real_weight() -> None:
    task: Any = make_task("matrix-minilm")
    assert task.weight.shape == task.target.shape == (384, 384)
    assert 0 < np.linalg.norm(task.target) < 0.5 * np.linalg.norm(task.weight)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 12), min_size=8, max_size=8).filter(lambda r: len(set(r)) > 1))
def test_planted_updates_have_the_ranks_that_were_asked_for_and_one_norm(layout: int, ranks: list[int]) -> None:
    task: Any = make_task("planted", {"layout": layout, "ranks": ranks, "width": 16})
    found = [stable_rank(torch.from_numpy(update)) for update in task.updates]
    assert sorted(found) == pytest.approx(sorted(ranks))
    assert np.ptp([np.linalg.norm(update) for update in task.updates]) < 1e-9


@given(st.integers(2, 60), st.integers(2, 60), seeds)
def test_fewer_examples_are_the_beginning_of_more(few: int, many: int, seed: int) -> None:
    few, many = sorted((few, many))
    splits = [make_task("random-labels", {"examples": n, "seed": seed}).split("train") for n in (few, many)]
    assert splits[0] == splits[1].first(few)


@pytest.mark.parametrize("name", [*MATRICES, "matrix-minilm", "planted", "random-labels"])
def test_every_probe_passes_the_checks_of_a_task(name: str) -> None:
    assert {outcome.status for outcome in check_task(name)} == {"passed", "not applicable"}


# -- bounds -------------------------------------------------------------------------------------------------

spectra = st.lists(st.floats(0.01, 1), min_size=3, max_size=12).map(lambda found: np.array(sorted(found)[::-1]))


@given(spectra, st.integers(0, 500))
def test_the_bound_is_the_error_of_the_truncated_svd_and_falls_with_parameters(values: Any, parameters: int) -> None:
    n = len(values)
    for rank in range(n + 1):
        truncated = np.sqrt((values[rank:] ** 2).sum() / (values**2).sum())
        assert svd_bound(values, rank * 2 * n) == pytest.approx(truncated, abs=1e-12)
    assert svd_bound(values, parameters + 1) <= svd_bound(values, parameters) + 1e-12


@given(st.floats(0, 2), st.floats(0, 1))
def test_a_ratio_is_below_one_only_for_an_error_below_its_bound(error: float, bound: float) -> None:
    ratio = svd_ratio(error, bound)
    assert ratio >= 0
    assert error < bound or ratio >= 1


@given(st.lists(st.integers(1, 10**4), min_size=2, max_size=9, unique=True))
def test_rank_correlation_sees_order_alone(ranks: list[int]) -> None:
    assert rank_correlation([(rank, rank**3) for rank in ranks]) == pytest.approx(1)
    assert rank_correlation([(rank, -rank) for rank in ranks]) == pytest.approx(-1)
    assert rank_correlation([(rank, 1.0) for rank in ranks]) == 0


# -- what is not φ cannot pass the bound --------------------------------------------------------------------


@torch.no_grad()
def ratio_of(model: Any, kind: Any) -> tuple[float, float]:
    batch = kind.collator()(kind.evaluation_rows(0, "test", None))
    scores = kind.scores(model.eval()(**batch).logits, batch["labels"])
    metrics = kind.compute_metrics(scores.numpy(), None)
    return metrics["relative_error"], kind.model_metrics(model, metrics)["svd_ratio"]


def adapted(kind: Any, method: str, **fields: Any) -> Any:
    torch.manual_seed(0)
    return make_method({"method": method, **fields}, "test").adapt(kind.load(), None)


@settings(max_examples=15)
@given(st.sampled_from(MATRICES), seeds, st.sampled_from(["lora", "rslora"]), st.integers(1, 6), st.floats(0.01, 0.3))
def test_no_pair_of_factors_is_below_the_bound(name: str, seed: int, method: str, r: int, size: float) -> None:
    kind = kind_of(make_task(name, {"size": 12}), "linear")
    model = adapted(kind, method, r=r, placement="mlp")
    generator = torch.Generator().manual_seed(seed)
    for parameter in (p for p in model.parameters() if p.requires_grad):
        parameter.data = size * torch.randn(parameter.shape, generator=generator)
    assert ratio_of(model, kind)[1] >= 1 - 1e-5


@pytest.mark.parametrize("r", [3, 20])
@pytest.mark.parametrize("method", WITH_FACTORS)
def test_the_svd_start_is_the_best_approximation(method: str, r: int) -> None:
    kind: Any = kind_of(make_task("matrix-power-law", {"size": 16}), "linear")
    model = adapted(kind, method, r=r, lora_alpha=5, placement="mlp", **({"init_r": r} if method == "adalora" else {}))
    assert ratio_of(model, kind)[0] == pytest.approx(1, abs=1e-5)
    start_from_svd(model, kind.known_updates())
    assert ratio_of(model, kind)[0] == pytest.approx(svd_bound(kind.singular_values, r * 32), abs=1e-4)


# -- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("matrix-flat", {"size": 3}, "size is a whole number from 4 to 4096, not 3"),
        ("matrix-flat", {"seed": 1.5}, "seed is a whole number of at least 0, not 1.5"),
        ("matrix-flat", {"sise": 3}, "sise"),
        ("matrix-low-rank", {"rank": 200}, "rank is a whole number from 1 to 128, not 200"),
        ("matrix-power-law", {"exponent": "steep"}, "exponent is a number above 0 and at most 20, not 'steep'"),
        ("matrix-sparse", {"share": 2}, "share is a number above 0 and at most 1, not 2"),
        ("planted", {"ranks": [4, 4]}, "ranks is a list of two different ranks or more, not [4, 4]"),
        ("planted", {"ranks": [4, 400]}, "a rank is a whole number from 1 to 64, not 400"),
        ("random-labels", {"inputs": "noise"}, "inputs is gaussian or digits, not 'noise'"),
        ("random-labels", {"inputs": "digits", "examples": 2000}, "examples is a whole number from 2 to 1797"),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_one_line(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(StudyError) as caught:
        make_task(name, options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
