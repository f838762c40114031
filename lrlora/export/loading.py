"""A saved adapter, and the base model that its configuration names."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME
from safetensors import safe_open

from lrlora.analysis.layers import PREFIX
from lrlora.export.errors import ExportError, one_line
from lrlora.registry import closest
from lrlora.tuner.files import check_files

_CLASSES = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "FEATURE_EXTRACTION": "AutoModel",
}
_WITH_LABELS = ("SEQ_CLS", "TOKEN_CLS")
_HEADS = ("classifier.weight", "score.weight", "classifier.out_proj.weight")
_EXPECTED = {"LRLORA": "expected LR-LoRA; PEFT merges other methods itself", "LORA": "expected LoRA"}


def read_adapter(folder: str | Path, method: str) -> PeftConfig:
    """Returns the configuration of a saved adapter of a method, such as ``"LORA"``, after a check of its files.

    Raises:
        ExportError: There is none, it is damaged, its weights are a pickle, or it is of another method.
    """
    folder = Path(folder)
    file = folder / CONFIG_NAME
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        near = closest(folder.name, beside)
        raise ExportError(f"{folder}: no such folder" + (f"; did you mean {folder.parent / near}?" if near else ""))
    if not file.is_file():
        raise ExportError(f"{folder} holds no adapter (no {CONFIG_NAME})")
    try:
        kind = json.loads(file.read_text(encoding="utf-8"))["peft_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{file} is no configuration of an adapter: {one_line(error)}") from None
    if kind != method:
        raise ExportError(f"{folder} is an adapter of the method {kind}; {_EXPECTED[method]}")
    try:
        check_files(str(folder))
    except ValueError as error:
        raise ExportError(one_line(error)) from None
    if not (folder / SAFETENSORS_WEIGHTS_NAME).is_file():
        raise ExportError(f"{folder} holds no weights (no {SAFETENSORS_WEIGHTS_NAME})")
    try:
        return PeftConfig.from_pretrained(str(folder))
    except RecursionError:  # PEFT drops the fields that it does not know, again and again where those are nested
        raise ExportError(f"{file}: a nested field has a key that PEFT does not know") from None
    except (ValueError, TypeError) as error:
        raise ExportError(f"{file}: {one_line(error)}") from None


def load_adapted(
    folder: str | Path, base: str | Path | None = None, *, method: str = "LRLORA", **options: Any
) -> PeftModel:
    """Returns a saved adapter on its base model, in evaluation mode.

    Args:
        folder: Of the adapter.
        base: Folder or name of the base model; by default the one that the adapter's configuration names.
        method: The ``peft_type`` that the adapter must have.
        options: Of the base model's ``from_pretrained``.

    Raises:
        ExportError: One of them cannot be loaded, or they do not fit each other.
    """
    config = read_adapter(folder, method)
    source = str(base if base is not None else config.base_model_name_or_path or "")
    if not source:
        raise ExportError(f"{folder} does not name its base model; name it with --base (base=)")
    looks_like_path = source.startswith((".", "/", "~")) or source.count("/") > 1
    if looks_like_path and not Path(source).is_dir():
        hint = "" if base is not None else ", where the adapter was trained on it; name its place with --base (base=)"
        raise ExportError(f"base model {source}: no such folder{hint}")
    with _silent():
        try:
            model = _load_base(source, Path(folder), config, options)
        except ExportError:
            raise
        except (OSError, ValueError) as error:
            raise ExportError(f"base model {source} cannot be loaded: {one_line(error)}") from None
        try:
            return PeftModel.from_pretrained(model, str(folder)).eval()
        except (ValueError, RuntimeError, KeyError) as error:
            raise ExportError(f"{folder} does not fit on the base model {source}: {one_line(error)}") from None


def _load_base(source: str, folder: Path, config: PeftConfig, options: dict[str, Any]) -> Any:
    import transformers

    packed = {"gguf_file": options["gguf_file"]} if "gguf_file" in options else {}
    options = {"revision": config.revision or "main", **({} if packed else {"use_safetensors": True}), **options}
    own = transformers.AutoConfig.from_pretrained(source, revision=options["revision"], **packed)
    with safe_open(str(folder / SAFETENSORS_WEIGHTS_NAME), framework="numpy") as opened:
        shapes = {key: opened.get_slice(key).get_shape() for key in opened.keys()}  # noqa: SIM118  # not a dict
    heads = [shape for key, shape in shapes.items() if key.endswith(_HEADS) and len(shape) == 2]
    if config.task_type in _WITH_LABELS and heads and heads[0][0] != own.num_labels:
        options["num_labels"] = heads[0][0]  # an adapter saves no labels, but the rows of its classifier
    # The progress bar of dequantisation cannot be switched off; nothing else is written to stderr meanwhile.
    with redirect_stderr(io.StringIO()) if packed else nullcontext():
        model, loading = _class_of(config, own).from_pretrained(source, output_loading_info=True, **options)
    saved = {key.removeprefix(PREFIX) for key in shapes}
    random = sorted(set(loading["missing_keys"]) - saved)
    adapted = {f"{key.partition('.lrlora_')[0]}.weight" for key in saved if ".lrlora_" in key}
    if strange := sorted(adapted.intersection(random)):
        raise ExportError(f"{folder} does not fit on the base model {source}: it has no {strange[0]}")
    if random:
        more = f" and {len(random) - 4} more" if len(random) > 4 else ""
        warnings.warn(
            f"neither the base model nor the adapter has weights for {', '.join(random[:4])}{more}: they are random, "
            "and are exported as they are",
            stacklevel=3,
        )
    return model


def _class_of(config: PeftConfig, own: Any) -> Any:
    """The class of the base model: by the task, by the class it was adapted as, by its own architecture."""
    import transformers

    if config.task_type is not None:
        return getattr(transformers, _CLASSES[str(getattr(config.task_type, "value", config.task_type))])
    for name in ((config.auto_mapping or {}).get("base_model_class"), *(own.architectures or ())):
        # Only classes of transformers: nothing that a file names is imported from elsewhere.
        found = getattr(transformers, name, None) if name else None
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    return transformers.AutoModel


@contextmanager
def _silent() -> Iterator[None]:
    """Without progress bars, and without the report on random heads, which the adapter brings."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
