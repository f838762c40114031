"""φ bends alike whichever engine evaluates it: no form keeps it linear, and a selection that would is caught.

Adapters of a pretrained vision transformer are trained from the same start by each engine. A wrong engine would still
train, so what is compared is the nonlinear fraction ‖ΔW − c·BA‖ / ‖ΔW‖ that training arrives at, and the validation
loss, each within what another seed changes.
"""

import statistics
from typing import Any, NamedTuple

import pytest
import torch
from peft import get_peft_model

from lrlora import LRLoraConfig, LRLoraLayer, parameter_groups
from lrlora.analysis.linalg import nonlinear_fraction
from lrlora.engines import leading_monomials
from lrlora.studies.models.backbones import BACKBONES, load_image_model
from lrlora.studies.tasks.digits import Digits

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:engine=:RuntimeWarning")]

BACKBONE = "digits-vit"
SEEDS = (0, 1, 2)
STEPS = 150


class Outcome(NamedTuple):
    loss: float
    bending: float


def trained(engine: str, seed: int, **fields: Any) -> Outcome:
    images = {name: Digits().split(name) for name in ("train", "validation")}
    pixels, labels = (
        {name: torch.tensor(getattr(split, part)) for name, split in images.items()} for part in ("pixels", "labels")
    )
    torch.manual_seed(seed)
    model = load_image_model(BACKBONE, Digits().labels)
    torch.manual_seed(seed)
    config = LRLoraConfig(engine=engine, lora_alpha=fields["r"], modules_to_save=["classifier"], **fields)
    model = get_peft_model(model, config).train()
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=1e-3))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    for _ in range(STEPS):
        batch = torch.randint(len(labels["train"]), (32,))
        model(pixel_values=pixels["train"][batch], labels=labels["train"][batch]).loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        loss = float(model(pixel_values=pixels["validation"], labels=labels["validation"]).loss)
        bending = []
        for layer in model.modules():
            if isinstance(layer, LRLoraLayer):
                A, B = layer.factors("default")
                bending.append(nonlinear_fraction(layer.delta_matrix("default"), B @ A))
    return Outcome(loss, statistics.mean(bending))


@pytest.fixture(autouse=True, scope="module")
def backbone() -> None:
    made: Any = BACKBONES[BACKBONE]
    if not made.is_made(BACKBONE):
        made.make(BACKBONE)


@pytest.mark.parametrize("rate", [0.1, 1.0])
@pytest.mark.parametrize("r", [4, 8])
def test_every_engine_lets_a_function_bend_as_the_definition_does(r: int, rate: float) -> None:
    # Far stronger bending is evaluated entry by entry in any case; here monomials have to do.
    found = {
        engine: [trained(engine, seed, r=r, transfer_lr_scale=rate) for seed in SEEDS]
        for engine in ("direct", "auto", "monomials")
    }
    reference = found.pop("direct")
    for engine, outcomes in found.items():
        for name in Outcome._fields:
            expected = [getattr(outcome, name) for outcome in reference]
            means = statistics.mean(expected), statistics.mean(getattr(outcome, name) for outcome in outcomes)
            spread = max(expected) - min(expected)
            assert abs(means[0] - means[1]) <= max(spread, 0.1 * means[0]), (engine, name, expected, outcomes)


def test_a_selection_by_the_present_coefficients_alone_would_keep_it_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of T_1 and T_2 the second has no linear part: only through products of two variables does it have a gradient.
    fields: dict[str, Any] = {"r": 4, "basis": "polynomial", "num_grid_points": 2, "transfer_lr_scale": 1.0}
    found = {engine: trained(engine, 0, **fields) for engine in ("direct", "monomials")}
    assert found["direct"].bending > 1e-3
    assert found["monomials"].bending == pytest.approx(found["direct"].bending, rel=0.3)
    monkeypatch.setattr(leading_monomials, "_enough", lambda power, level: 0)
    assert trained("monomials", 0, **fields).bending < found["direct"].bending / 4
