"""A whole model compiled, checkpointed, in half precision, generating: it computes what it computes without.

Plans are made by code that reads the values of parameters, so an adapted layer stays outside of compiled graphs.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor, nn

from lrlora import LRLoraConfig, LRLoraLayer

# The compiler looks at .grad of what it is given, and hides the warning in a way that does not work on errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")

Make = Callable[[str], nn.Module]
Inputs = Callable[[str], dict[str, Any]]
RANDOM = {"r": 2, "init_weights": False, "num_grid_points": 6}
STEPS = 3


@pytest.fixture(autouse=True)
def _forget_what_was_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def adapted(make_model: Make, family: str = "llama", **fields: Any) -> nn.Module:
    torch.manual_seed(2)
    return get_peft_model(make_model(family), LRLoraConfig(**{**RANDOM, **fields}))


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], **tolerances: float) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, msg=lambda text, name=name: f"{name}: {text}", **tolerances)


def train(model: nn.Module, run: Callable[..., Any], inputs: dict[str, Any]) -> list[float]:
    """A few steps. After the first of them, compiling anything anew is an error."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses = []
    for step in range(STEPS):
        with torch._dynamo.config.patch(error_on_recompile=step > 0):
            loss = run(**inputs, labels=inputs["input_ids"]).loss
            loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    return losses


def test_a_compiled_model_trains_as_an_eager_one(make_model: Make, inputs_of: Inputs) -> None:
    inputs = {**inputs_of("llama"), "use_cache": False}
    eager, compiled = adapted(make_model), adapted(make_model)
    expected = train(eager, eager, inputs)
    run = torch.compile(compiled, backend="aot_eager")
    # A plan or a value from an earlier step would show here.
    assert train(compiled, run, inputs) == pytest.approx(expected, rel=1e-4)
    assert expected[-1] < expected[0]
    assert_same(dict(compiled.named_parameters()), dict(eager.named_parameters()), rtol=1e-3, atol=1e-4)


class Stack(nn.Module):
    """More layers than versions of one compiled function are allowed, of two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6 if i % 2 else 8, 8 if i % 2 else 6) for i in range(12))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x[..., :1] + layer(x).tanh()
        return x


@pytest.mark.parametrize(
    "fields",
    [{"engine": "direct"}, {"engine": "auto"}, {"lora_dropout": 0.5}, {"sharing": "all"}],
    ids=lambda fields: next(iter(fields)) + "=" + str(next(iter(fields.values()))),
)
def test_a_stack_of_many_layers_compiles_once(fields: dict[str, Any]) -> None:
    torch.manual_seed(0)
    base = Stack()
    models = []
    for _ in range(2):
        torch.manual_seed(1)
        names = [f"layers.{i}" for i in range(12)]
        models.append(get_peft_model(copy.deepcopy(base), LRLoraConfig(**RANDOM, **fields, target_modules=names)))
    runs = [models[0], torch.compile(models[1], backend="aot_eager")]
    optimizers = [torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3) for model in models]
    for step in range(STEPS):
        x, outputs = torch.randn(5, 8), []
        for run, optimizer in zip(runs, optimizers, strict=True):
            torch.manual_seed(step)  # of the dropout
            with torch._dynamo.config.patch(error_on_recompile=step > 0):
                outputs.append(run(x))
                outputs[-1].square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-3, atol=1e-4)
    assert_same(dict(models[1].named_parameters()), dict(models[0].named_parameters()), rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        x = torch.randn(5, 8)
        torch.testing.assert_close(runs[1].eval()(x), runs[0].eval()(x), rtol=1e-3, atol=1e-4)


def test_an_adapted_model_is_not_one_graph_and_the_compiler_says_why(make_model: Make, inputs_of: Inputs) -> None:
    run = torch.compile(adapted(make_model), backend="eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="LR-LoRA reads the values of its parameters"):
        run(**inputs_of("llama"))


def test_a_merged_model_is_one_graph_and_can_be_exported(make_model: Make, inputs_of: Inputs) -> None:
    inputs = inputs_of("bert")
    model = adapted(make_model, "bert").eval()
    merged = model.merge_and_unload()
    with torch.no_grad():
        expected = merged(**inputs).logits
        run = torch.compile(merged, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(run(**inputs).logits, expected)
        exported = torch.export.export(merged, (), inputs)
        torch.testing.assert_close(exported.module()(**inputs).logits, expected)


def test_a_merged_layer_can_be_traced() -> None:
    config = LRLoraConfig(**RANDOM, target_modules=["0"])
    merged = get_peft_model(nn.Sequential(nn.Linear(6, 5), nn.ReLU()), config).merge_and_unload()
    x = torch.randn(3, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit as a whole
        traced = torch.jit.trace(merged, x)
    torch.testing.assert_close(traced(x), merged(x))


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_through_transformers_changes_no_gradient(
    use_reentrant: bool, make_model: Make, inputs_of: Inputs
) -> None:
    inputs = inputs_of("llama")
    found = []
    for checkpointed in (False, True):
        model = adapted(make_model).train()
        if checkpointed:
            model.base_model.model.activation_checkpointing_enable({"use_reentrant": use_reentrant})
            model.enable_input_require_grads()  # without, reentrant checkpoints drop the gradients
        model(**inputs, labels=inputs["input_ids"]).loss.backward()
        found.append(gradients(model))
    assert len(found[0]) == 3 * 7 * 4
    assert_same(found[1], found[0], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("how", ["cast", "autocast"])
def test_half_precision_after_the_adapter_was_added(
    how: str, dtype: torch.dtype, make_model: Make, inputs_of: Inputs
) -> None:
    inputs = inputs_of("llama")
    exact, model = adapted(make_model).train(), adapted(make_model).train()
    exact_loss = exact(**inputs, labels=inputs["input_ids"]).loss
    exact_loss.backward()
    if how == "cast":
        model = model.to(dtype)
    with torch.autocast("cpu", dtype=dtype, enabled=how == "autocast"):
        loss = model(**inputs, labels=inputs["input_ids"]).loss
    loss.backward()
    torch.testing.assert_close(loss.float(), exact_loss, rtol=2e-2, atol=0)
    of_exact = gradients(exact)
    for name, gradient in gradients(model).items():
        assert gradient.isfinite().all(), name
        difference = (gradient.float() - of_exact[name]).norm() / of_exact[name].norm()
        assert difference < 0.15, (name, difference)


class TestGeneration:
    def test_generation_with_a_cache_is_that_without_and_that_of_the_merged_model(
        self, make_model: Make, inputs_of: Inputs
    ) -> None:
        model = adapted(make_model).eval()
        prompt = inputs_of("llama")
        asked = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
        base = make_model("llama").generate(**prompt, **asked)
        with_cache = model.generate(**prompt, **asked, use_cache=True)
        assert with_cache.shape == (2, 13)
        assert not torch.equal(with_cache, base), "the adapter has a say"
        assert torch.equal(with_cache, model.generate(**prompt, **asked, use_cache=False))
        assert torch.equal(with_cache, model.merge_and_unload().generate(**prompt, **asked))

    def test_training_goes_on_after_inference_mode(self, make_model: Make, inputs_of: Inputs) -> None:
        # A plan that was made in inference mode must hold no tensor that autograd refuses.
        inputs = inputs_of("llama")
        model = adapted(make_model).eval()
        with torch.inference_mode():
            before = model(**inputs).logits
        model(**inputs, labels=inputs["input_ids"]).loss.backward()
        assert all(gradient.count_nonzero() > 0 for gradient in gradients(model).values())
        for layer in model.modules():
            if isinstance(layer, LRLoraLayer):
                layer.lrlora_B["default"].weight.data.mul_(2)
        with torch.inference_mode():
            assert not torch.allclose(model(**inputs).logits, before)
