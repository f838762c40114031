"""Half precision: the dtype of an adapter is what PEFT promises, and forward, backward and saving work in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import get_peft_model
from subjects import Batch, Subject, adapter_parameters, close, first_output, run
from torch import nn

HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
AUTOCAST = pytest.mark.parametrize("autocast", [True, False], ids=["adapter in float32", "adapter in half"])


def cast(batch: Batch, dtype: torch.dtype) -> Batch:
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in batch.items()}


def dtypes(model: nn.Module, adapter_name: str = "default") -> set[torch.dtype]:
    return {p.dtype for _, p in adapter_parameters(model, adapter_name)}


class PrecisionChecks:
    """For every subject."""

    @HALF
    @AUTOCAST
    def test_an_adapter_on_a_base_in_half_precision(
        self, subject: Subject, dtype: torch.dtype, autocast: bool, tmp_path: Path
    ) -> None:
        """New, added and loaded adapters have the dtype that ``autocast_adapter_dtype`` promises."""
        expected = {torch.float32 if autocast else dtype}
        torch.manual_seed(1)
        model = get_peft_model(subject.base().to(dtype), subject.config(), autocast_adapter_dtype=autocast).eval()
        assert dtypes(model) == expected
        model.add_adapter("added", subject.config(), autocast_adapter_dtype=autocast)
        assert dtypes(model, "added") == expected
        model.save_pretrained(tmp_path)
        model.load_adapter(str(tmp_path), "loaded", autocast_adapter_dtype=autocast)
        assert dtypes(model, "loaded") == expected

        out = run(model.eval(), cast(subject.batch(), dtype))
        assert out.dtype is dtype
        assert out.isfinite().all()
        wide = run(subject.loaded(tmp_path), subject.batch())
        assert (out.float() - wide).norm() <= 0.1 * wide.norm()
        model.set_adapter("loaded")
        close(run(model.eval(), cast(subject.batch(), dtype)).float(), out.float(), tolerance=0.02)

    def test_under_autocast_it_computes_in_bfloat16_and_learns_in_float32(self, subject: Subject) -> None:
        model = subject.adapted().train()
        with torch.autocast("cpu", torch.bfloat16):
            first_output(model(**subject.batch())).float().square().mean().backward()
        trained = [p for _, p in adapter_parameters(model) if p.requires_grad]
        assert trained
        assert all(p.grad is not None and p.grad.dtype is torch.float32 and p.grad.isfinite().all() for p in trained)
        model.eval()
        wide = run(model, subject.batch())
        with torch.autocast("cpu", torch.bfloat16):
            narrow = run(model, subject.batch())
        assert (narrow.float() - wide).norm() <= 0.1 * wide.norm()


class PrecisionDetails:
    """What does not depend on the architecture, for some subjects."""

    @HALF
    @AUTOCAST
    def test_gradients_on_a_base_in_half_precision(self, subject: Subject, dtype: torch.dtype, autocast: bool) -> None:
        torch.manual_seed(1)
        model = get_peft_model(subject.base().to(dtype), subject.config(), autocast_adapter_dtype=autocast).train()
        first_output(model(**cast(subject.batch(), dtype))).float().square().mean().backward()
        for name, parameter in model.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name
            if parameter.grad is not None:
                assert parameter.grad.dtype is parameter.dtype, name
                assert parameter.grad.isfinite().all(), name

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
    def test_all_of_it_can_be_cast(self, subject: Subject, dtype: torch.dtype) -> None:
        model = subject.adapted()
        expected = run(model, subject.batch())
        model = model.to(dtype)
        assert {p.dtype for p in model.parameters()} == {dtype}
        out = run(model, cast(subject.batch(), dtype))
        assert out.dtype is dtype
        assert (out.float() - expected).norm() <= (1e-4 if dtype is torch.float64 else 0.1) * expected.norm()
