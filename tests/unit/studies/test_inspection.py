"""lrlora inspect reads adapters without their base model, says the same as with it, and refuses what it cannot read."""

from __future__ import annotations

import dataclasses
import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from lrlora import LRLoraConfig
from lrlora.analysis import LayerReport, layer_report
from lrlora.export.errors import ExportError
from lrlora.studies.cli.main import run
from lrlora.studies.inspection import Inspection, Landscape, inspect_adapter, loss_landscape, open_adapter
from lrlora.studies.inspection.inspecting import headline, note
from lrlora.studies.inspection.page import inspection_page
from lrlora.studies.inspection.reading import family_of

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 32}
LRLORA: dict[str, dict[str, Any]] = {
    "plain": {},
    "shared, learned grid": {"sharing": "all", "grid": "learned", "sharing_scope": "projection"},
    "shared amplitudes": {"sharing": "amplitude"},
    "one function by layer": {"sharing": "all", "sharing_scope": "layer"},
    "one function": {"sharing": "all"},
    "ranks of its own": {
        "rank_allocation": "linear_decay:1",
        "layers": "odd",
        "num_grid_points": 7,
        "basis": "bspline",
    },
    "by width": {"input_scale": "width:2", "placement": "attention", "preset": "identity"},
}


def base(family: str = "bert") -> Any:
    torch.manual_seed(0)
    if family == "llama":
        return hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES))
    return hf.BertForSequenceClassification(hf.BertConfig(**SIZES))


def config_of(**fields: Any) -> LRLoraConfig:
    return LRLoraConfig(**{"r": 3, "init_weights": False, "input_scale": 30, **fields})


def saved(folder: Path, config: Any, family: str = "bert") -> tuple[Any, Path]:
    model = get_peft_model(base(family), config)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    model.save_pretrained(str(folder / "adapter"))
    return model, folder / "adapter"


def lora(**fields: Any) -> LoraConfig:
    return LoraConfig(r=2, target_modules=["query", "value", "q_proj", "down_proj"], **fields)


def same(found: list[LayerReport], expected: list[LayerReport]) -> None:
    """Equal in everything but what rounding does to the fit of an engine."""
    known = {report.module: dataclasses.asdict(report) for report in expected if report.r}
    assert known
    for report in found:
        other = known.pop(report.module)
        for name, value in dataclasses.asdict(report).items():
            if name in ("evaluation", "evaluation_error"):
                continue
            if name == "spectrum":
                assert value == pytest.approx(other[name], abs=2e-3)
            elif isinstance(value, float) and not name.startswith("bends"):
                assert value == pytest.approx(other[name], rel=5e-3, abs=1e-5), name
            elif not name.startswith("bends"):
                assert value == other[name], name
    assert not known


@pytest.mark.parametrize(("kind", "family"), list(zip(LRLORA, ["bert", "llama"] * 4, strict=False)))
def test_an_lrlora_adapter_is_told_without_its_base_model_as_with_it(tmp_path: Path, kind: str, family: str) -> None:
    model, folder = saved(tmp_path, config_of(**LRLORA[kind]), family)
    same(layer_report(open_adapter(folder)), layer_report(model))


@pytest.mark.parametrize(
    ("fields", "family"), [({}, "bert"), ({"use_rslora": True}, "llama"), ({"rank_pattern": {"q_proj": 4}}, "llama")]
)
def test_a_lora_adapter_is_told_without_its_base_model_as_with_it(
    tmp_path: Path, fields: dict[str, Any], family: str
) -> None:
    model, folder = saved(tmp_path, lora(**fields), family)
    same(layer_report(open_adapter(folder)), layer_report(model))


def test_embeddings_and_convolutions_need_no_base_either(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.conv = nn.Embedding(20, 8), nn.Conv1d(8, 6, 3)

    for config in (
        LRLoraConfig(r=2, target_modules=["words", "conv"], init_weights=False),
        LoraConfig(r=2, target_modules=["words", "conv"], init_lora_weights=False),
    ):
        model = get_peft_model(Net(), config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
        folder = tmp_path / type(config).__name__
        model.save_pretrained(str(folder), save_embedding_layers=False)
        found = {report.module: report.stable_rank for report in layer_report(open_adapter(folder))}
        assert found == pytest.approx({r.module: r.stable_rank for r in layer_report(model)}, rel=5e-3)


def test_what_depends_on_the_base_model_is_loaded_on_it_or_refused_in_a_line(tmp_path: Path) -> None:
    _, folder = saved(tmp_path, LoraConfig(r=2, target_modules=["query"], use_dora=True))
    with pytest.raises(ExportError, match="does not name its base model; name it with --base"):
        open_adapter(folder)
    base().save_pretrained(str(tmp_path / "base"))
    found = layer_report(open_adapter(folder, tmp_path / "base"))
    assert [report.role for report in found] == ["q", "q", "q"]
    assert all(report.stable_rank and report.stable_rank >= 1 for report in found)


def test_the_family_is_known_by_the_names_of_the_modules() -> None:
    assert family_of(["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.gate_proj"]) is not None
    assert family_of(["bert.encoder.layer.0.attention.self.query"]) is not None
    assert family_of(["stem.one", "stem.two"]) is None


# -- input that is wrong ---------------------------------------------------------------------------------------


def test_a_wrong_folder_is_refused_with_the_nearest_right_one(tmp_path: Path) -> None:
    _, folder = saved(tmp_path, lora())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match=r"no such folder; did you mean .*adapter\?"):
        open_adapter(tmp_path / "adaptr")
    with pytest.raises(ExportError, match=r"holds no adapter itself .* below it: .*adapter"):
        open_adapter(tmp_path)
    with pytest.raises(ExportError, match="holds no adapter"):
        open_adapter(tmp_path / "empty")
    with pytest.raises(ExportError):
        open_adapter(folder / "adapter_config.json")


def test_damaged_files_and_pickles_are_refused_in_one_line(tmp_path: Path) -> None:
    _, folder = saved(tmp_path, config_of())
    weights = folder / "adapter_model.safetensors"
    whole, settings = weights.read_bytes(), (folder / "adapter_config.json").read_text()

    def refused(match: str) -> None:
        with pytest.raises(ExportError, match=match) as caught:
            open_adapter(folder)
        assert "\n" not in str(caught.value)

    weights.write_bytes(whole[: len(whole) // 2])
    refused("damaged or cut short")
    weights.unlink()
    refused("no weights")
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    refused("is a pickle, which is never loaded")
    (folder / "adapter_model.bin").unlink()
    weights.write_bytes(whole)
    for text in ("{", "[]", "{}"):
        (folder / "adapter_config.json").write_text(text)
        refused("is no configuration of an adapter")
    (folder / "adapter_config.json").write_text(settings.replace('"LRLORA"', '"LOLORA"'))
    refused("LOLORA")
    (folder / "adapter_config.json").write_text(settings)
    state = load_file(weights)
    save_file({key: value for key, value in state.items() if "lrlora_B" not in key}, weights)
    refused("expected the two factors A and B")
    save_file({key: value for key, value in state.items() if "amplitude" not in key}, weights)
    refused("is not in the file")
    save_file({"classifier.weight": torch.zeros(2, 2)}, weights)
    refused("no factors under")


def test_the_command_refuses_with_status_two_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(tmp_path / "nothing")]) == 2
    assert "no such folder" in capsys.readouterr().err
    _, folder = saved(tmp_path, lora())
    assert run(["inspect", str(folder), "--html", str(tmp_path / "no" / "page.html")]) == 2
    assert "there is no folder" in capsys.readouterr().err


# -- what is said ----------------------------------------------------------------------------------------------


def test_the_command_prints_tables_or_json_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = saved(tmp_path, config_of(preset="default"))
    page = tmp_path / "page.html"
    assert run(["inspect", str(folder), "--json", "--html", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["layers"]) == 18
    assert len(found["curves"]) == 18
    assert [layer["depth"] for layer in found["layers"]] == sorted([0, 1, 2] * 6)
    assert page.stat().st_size < 600_000
    assert run(["inspect", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "0 q" in said
    assert "ΔW has a stable rank of" in said


def layer(**changes: Any) -> LayerReport:
    known: dict[str, Any] = {
        "module": "m", "role": "q", "depth": 0, "r": 4, "stable_rank": 2.0, "nonlinear_fraction": 0.001,
        "max_abs_z": 0.1, "outside_grid": 0.0, "evaluation": "", "evaluation_error": 0.0, "input_scale": 1.0,
    }  # fmt: skip
    return LayerReport(**(known | changes))


def test_a_straight_line_is_flagged_with_the_scale_at_which_it_would_bend() -> None:
    assert note(layer(bends_at=903.2)) == "linear; would be nonlinear at input scale ≈ 900"
    assert note(layer()) == "linear at any input scale"
    assert note(layer(nonlinear_fraction=0.02)) == ""
    assert note(layer(input_scale=None, nonlinear_fraction=0.0)) == ""  # LoRA has no φ that could bend


def test_the_headline_says_where_the_adapter_is_lora() -> None:
    def said(*layers: LayerReport) -> str:
        return headline(Inspection("a", "LRLORA", "", {}, layers, []))

    bent = layer(nonlinear_fraction=0.3)
    assert "φ is nonlinear in all of them" in said(bent, bent)
    assert "φ is linear in 1 of 2 layers" in said(bent, layer())
    assert "φ is linear in every layer" in said(layer(), layer())
    assert "There is no φ" in said(layer(input_scale=None))


class Page(HTMLParser):
    """Whether elements nest, and what is fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("method", ["lrlora", "lora"])
def test_the_page_is_whole_and_needs_nothing_else(tmp_path: Path, method: str) -> None:
    _, folder = saved(tmp_path, config_of() if method == "lrlora" else lora())
    losses = tuple(tuple(float(abs(i) + j * j) for i in range(-2, 3)) for j in range(-2, 3))
    slice_ = Landscape("a <task>", (-1.0, -0.5, 0.0, 0.5, 1.0), ((None,) * 5, *losses[1:]))
    text = inspection_page(inspect_adapter(open_adapter(folder), folder, "some/base", slice_))
    page = Page(text)
    assert page.open == []
    assert all(link.startswith("#") for link in page.fetched)
    assert "script" not in page.tags
    assert page.tags.count("figure") == (4 if method == "lrlora" else 3)
    assert "a &lt;task&gt;" in text


# -- the slice of the loss -------------------------------------------------------------------------------------


def test_the_landscape_has_the_adapter_in_its_middle_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    model, _ = saved(tmp_path, config_of(task_type="SEQ_CLS"))
    batch = {"input_ids": torch.arange(12).view(2, 6), "labels": torch.tensor([0, 1])}
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    model.eval()
    with torch.no_grad():
        here = model(**batch).loss.item()
    found = loss_landscape(model, batch, points=3)
    assert found.at == (-1.0, 0.0, 1.0)
    assert found.loss[1][1] == pytest.approx(here, rel=1e-5)
    assert len({value for row in found.loss for value in row}) > 5
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert loss_landscape(model, batch, points=3) == found


def test_directions_are_as_long_as_the_parameters_and_heads_stay(tmp_path: Path) -> None:
    class Lengths(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.full((4, 3), 2.0))
            self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
            self.head = nn.ModuleDict({"modules_to_save": nn.ModuleDict({"default": nn.Linear(2, 2)})})
            self.seen: list[tuple[float, float]] = []

        def forward(self, start: Any) -> Any:
            head = self.head["modules_to_save"]["default"].weight  # type: ignore[index]
            self.seen.append((float((self.a - 2.0).norm()), float(head.norm())))
            return type("Output", (), {"loss": self.a.sum() * (math.nan if float(self.a[0, 0]) == 2.0 else 1)})

    model = Lengths()
    found = loss_landscape(model, {"start": None}, points=3)
    on_the_axes = [model.seen[index][0] for index in (1, 3, 5, 7)]
    assert on_the_axes == pytest.approx([float(model.a.detach().norm())] * 4, rel=1e-5)
    assert len({head for _, head in model.seen}) == 1
    assert found.loss[1][1] is None  # a loss that is no number has no place in JSON
