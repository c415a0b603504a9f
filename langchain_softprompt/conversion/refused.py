"""What is never read: why, and what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

from langchain_softprompt.errors import InvalidSoftPromptError, UnsafeFileError, UnsupportedSoftPromptError
from langchain_softprompt.hub.local import TENSOR_FILE
from langchain_softprompt.printable import printable

READ = "a caikit decoder.pt or a KoboldAI .zip"
_SAVE_ROWS = "save its rows with torch.save(rows, 'decoder.pt'), a tensor [virtual tokens, hidden size], and convert that"
_BY_PEFT = (
    "Pickled weights can run code and are never read. Where you trust the file, save it again from PEFT with "
    "PeftModel.from_pretrained(base, folder).save_pretrained(new_folder, safe_serialization=True); that folder is used as it is."
)

# What a textual inversion of the image web UIs names its vectors; diffusers calls its file learned_embeds.
TEXTUAL_INVERSION_KEYS = frozenset({"string_to_param", "string_to_token", "emb_params", "clip_l", "clip_g"})
_SAFETENSORS_HEAD = 4096
_TAR_MAGIC = slice(257, 262)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A format that is refused.

    Attributes:
        known_by: Whether a file's name, in lower case, and the whole of it are of this format.
        error: What is raised.
        found: What it is called in messages.
        hint: What to do instead.
    """

    known_by: Callable[[str, bytes], bool]
    error: type[InvalidSoftPromptError]
    found: str
    hint: str


def _ends(*endings: str) -> Callable[[str, bytes], bool]:
    return lambda name, _: name.endswith(endings)


def _begins(*beginnings: str) -> Callable[[str, bytes], bool]:
    return lambda name, _: name.startswith(beginnings)


def _is_mkultra(_: str, content: bytes) -> bool:
    return content[:64].lstrip().startswith(b"{") and b'"tensor"' in content and b'"metadata"' in content


def _is_textual_inversion(name: str, content: bytes) -> bool:
    head = content[:_SAFETENSORS_HEAD]
    keyed = any(f'"{key}"'.encode() in head for key in TEXTUAL_INVERSION_KEYS)
    return name.startswith("learned_embeds") or (name.endswith(".safetensors") and keyed)


def _is_pickle(name: str, content: bytes) -> bool:
    return name.endswith((".pkl", ".pickle")) or (content[:1] == b"\x80" and content[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"})


_TEXTUAL_INVERSION = Refusal(
    _is_textual_inversion,
    UnsupportedSoftPromptError,
    "a textual inversion: vectors for the text encoder of an image model",
    "No language model reads them.",
)
# In order: the first that fits speaks.
_REFUSALS = (
    Refusal(
        _begins("prompt_provider."),
        UnsafeFileError,
        "ruPrompts' pickled prompt provider",
        "Pickles can run code, and its format puts soft tokens on both sides of the text, which is no prefix. Train one again from "
        "the same hard prompt: langchain-softprompt train.",
    ),
    _TEXTUAL_INVERSION,
    Refusal(
        _ends(".nemo"),
        UnsafeFileError,
        "a NeMo archive with a pickled checkpoint",
        f"Pickles can run code and are never read. Where you trust the file, load it in NeMo, {_SAVE_ROWS}.",
    ),
    Refusal(
        _begins("adapter_model.bin", "adapter_model.pt", "pytorch_model"),
        UnsafeFileError,
        "PEFT's pickled weights",
        _BY_PEFT,
    ),
    Refusal(_ends(".bin", ".pth", ".ckpt"), UnsafeFileError, "pickled weights", _BY_PEFT),
    Refusal(
        _is_mkultra,
        UnsafeFileError,
        "mkultra's JSON with a pickle in base64",
        f"Pickles can run code and are never read. Where you trust the file, load it in mkultra, {_SAVE_ROWS}.",
    ),
    Refusal(
        _is_pickle,
        UnsafeFileError,
        "a bare pickle",
        f"Pickles can run code and are never read. Where you trust the file, load it, {_SAVE_ROWS} (PyTorch 1.6 or newer).",
    ),
    Refusal(
        lambda _, content: content[_TAR_MAGIC] == b"ustar" or content[:2] == b"\x1f\x8b",
        UnsafeFileError,
        "a tar or gzip archive, as NeMo and PyTorch before 0.4 wrote",
        f"What is in them is pickled and never read. Where you trust the file, load it where it was made, {_SAVE_ROWS}.",
    ),
    Refusal(
        lambda name, _: name == TENSOR_FILE,
        InvalidSoftPromptError,
        "PEFT's own file",
        "It needs no conversion: use the folder it is in, with its adapter_config.json.",
    ),
)


def refuse_known(path: PurePath, content: bytes) -> None:
    """Refuse a file of a format that is known and not read.

    Args:
        path: What the user named.
        content: The file; a name alone decides where it is empty.

    Raises:
        UnsafeFileError: Reading it could run code.
        UnsupportedSoftPromptError: It is no soft prompt of a language model.
        InvalidSoftPromptError: There is nothing to convert.
    """
    name = path.name.lower()
    for refusal in _REFUSALS:
        if refusal.known_by(name, content):
            raise _error(refusal, path.name)


def refuse_textual_inversion(file: str) -> None:
    """Refuse what its content has shown to be a textual inversion.

    Raises:
        UnsupportedSoftPromptError: Always.
    """
    raise _error(_TEXTUAL_INVERSION, file)


def _error(refusal: Refusal, file: str) -> InvalidSoftPromptError:
    return refusal.error(file=printable(file), field="format", expected=READ, found=refusal.found, hint=refusal.hint)


__all__ = ["READ", "TEXTUAL_INVERSION_KEYS", "Refusal", "refuse_known", "refuse_textual_inversion"]
