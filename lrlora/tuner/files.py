"""The files of a saved adapter beside its configuration: weights that may be loaded, and the model card."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from huggingface_hub import file_exists, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from peft.utils import SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME
from safetensors import SafetensorError, safe_open

CARD = "README.md"
USE = """
## Use

This is a Learnable-Rank LoRA adapter. PEFT knows the method once `lrlora` is imported:

```python
import lrlora  # makes the method known to PEFT
from peft import PeftModel

model = PeftModel.from_pretrained(base_model, "path or name of this adapter")
```
"""


def check_files(name_or_path: str, subfolder: str | None = None, **download: Any) -> None:
    """Check the weights beside a configuration that is about to be loaded, where there are any.

    Args:
        name_or_path: A folder, or a repository on the Hugging Face Hub.
        subfolder: Within it.
        download: What ``hf_hub_download`` takes besides.

    Raises:
        ValueError: A pickle, which is never loaded, or a damaged file.
    """
    directory = Path(name_or_path, subfolder or "")
    if not directory.is_dir():
        weights = _downloaded(name_or_path, subfolder, download)
        if weights is None:
            return
        directory = weights.parent
    weights = directory / SAFETENSORS_WEIGHTS_NAME
    if weights.is_file():
        try:
            with safe_open(weights, framework="pt") as file:
                file.keys()
        except SafetensorError as error:
            raise ValueError(f"{weights} is damaged or cut short ({error}); nothing was loaded") from error
    elif (directory / WEIGHTS_NAME).is_file():
        raise _refused(str(directory / WEIGHTS_NAME))


def _downloaded(repository: str, subfolder: str | None, options: dict[str, Any]) -> Path | None:
    """Downloads the weights of a repository, as PEFT would next; None if there are none or the Hub is not reached."""
    known = inspect.signature(hf_hub_download).parameters
    options = {name: value for name, value in options.items() if name in known}
    try:
        return Path(hf_hub_download(repository, SAFETENSORS_WEIGHTS_NAME, subfolder=subfolder, **options))
    except LocalEntryNotFoundError:
        return None
    except EntryNotFoundError:
        pickle = f"{subfolder}/{WEIGHTS_NAME}" if subfolder else WEIGHTS_NAME
        if file_exists(repository, pickle, revision=options.get("revision"), token=options.get("token")):
            raise _refused(f"{repository}/{pickle}") from None
        return None
    except (OSError, ValueError):
        return None


def _refused(pickle: str) -> ValueError:
    return ValueError(
        f"{pickle} is a pickle, which is never loaded, since that can run code; "
        f"save the adapter as {SAFETENSORS_WEIGHTS_NAME}"
    )


def name_import_in_card(directory: Path) -> None:
    """Add to the model card beside a saved adapter what to import before it is loaded."""
    # The card of a model with several adapters stands in the folder above theirs.
    for card in (directory / CARD, directory.parent / CARD):
        if card.is_file():
            text = card.read_text(encoding="utf-8")
            if "library_name: peft" in text and "import lrlora" not in text:
                card.write_text(text.rstrip("\n") + "\n" + USE, encoding="utf-8")
            return
