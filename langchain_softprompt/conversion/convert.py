"""Which format is a file in? It becomes a soft prompt, or an error that says why not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from langchain_softprompt.conversion.archive import MOST_BYTES, ZIP_MAGIC, Archive
from langchain_softprompt.conversion.caikit import PICKLE_MEMBER, read_caikit
from langchain_softprompt.conversion.koboldai import TENSOR_MEMBER, read_koboldai
from langchain_softprompt.conversion.refused import READ, refuse_known
from langchain_softprompt.conversion.rows import as_soft_prompt
from langchain_softprompt.errors import InvalidSoftPromptError, SoftPromptNotFoundError
from langchain_softprompt.printable import printable
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.soft_prompt.folder import SoftPromptFolder

CAIKIT, KOBOLDAI = "caikit", "KoboldAI"
_CANDIDATES = (".pt", ".zip")
_MOST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Converted:
    """A soft prompt that was read from another project's format.

    Attributes:
        soft_prompt: The soft prompt, of PEFT type ``PROMPT_TUNING``, without a manifest: nothing in the file tells which weights
            it was made for.
        format: ``"caikit"`` or ``"KoboldAI"``.
        about: What the file says about itself, by name.
    """

    soft_prompt: SoftPrompt
    format: str
    about: dict[str, str] = field(default_factory=dict)


def convert(file: str | Path, *, base_model: str | None = None) -> Converted:
    """Read a soft prompt in another project's format: caikit's and TGIS's ``decoder.pt``, or KoboldAI's ``.zip``.

    Nothing in the file is run, and neither it nor what is unpacked of it may be larger than 256 MiB. Formats that can't be read
    without running what is in them are refused by name.

    Args:
        file: The file.
        base_model: Name of the frozen model it was made for, for PEFT; the file does not tell.

    Raises:
        SoftPromptNotFoundError: There is no such file.
        UnsafeFileError: Reading it could run code, or it is not a regular file.
        UnsupportedSoftPromptError: It is no soft prompt of a decoder language model.
        InvalidSoftPromptError: It is malformed, or in no format that is known.
    """
    path = Path(file)
    real = _found(path)
    refuse_known(path, b"")
    content = SoftPromptFolder(real.parent).read_bytes(real.name, MOST_BYTES)
    refuse_known(path, content)
    name = printable(path.name)
    if not content.startswith(ZIP_MAGIC):
        raise InvalidSoftPromptError(file=name, field="format", expected=READ, found="neither")
    archive = Archive(name, content)
    kind = _kind(archive)
    rows, about = read_koboldai(archive) if kind == KOBOLDAI else (read_caikit(archive, (path.parent, real.parent)), {})
    return Converted(as_soft_prompt(name, rows, base_model=base_model, source=str(file)), kind, about)


def _found(path: Path) -> Path:
    """The file itself, behind whatever links the user's own name for it goes through."""
    try:
        real = path.resolve(strict=True)
        inside = sorted(each.name for each in real.iterdir() if each.name.endswith(_CANDIDATES)) if real.is_dir() else None
    except (OSError, RuntimeError, ValueError) as error:
        msg = f"There is no file at {printable(repr(str(path)))}: {printable(error)}. Check the path."
        raise SoftPromptNotFoundError(msg) from error
    if inside is not None:
        named = ", ".join(inside[:_MOST_SHOWN]) + (", ..." if len(inside) > _MOST_SHOWN else "")
        hint = f"Name one file in it: {printable(named)}." if inside else "Name a file."
        raise InvalidSoftPromptError(file=printable(path.name or str(path)), field="kind", expected=READ, found="a folder", hint=hint)
    return real


def _kind(archive: Archive) -> str:
    is_torch = any(name.endswith(f"/{PICKLE_MEMBER}") for name in archive.names)
    is_kobold = TENSOR_MEMBER in archive.names
    if is_torch == is_kobold:
        found = "both in one archive" if is_torch else printable(f"an archive of {', '.join(archive.names) or 'nothing'}")
        raise InvalidSoftPromptError(file=archive.file, field="format", expected=READ, found=found)
    return KOBOLDAI if is_kobold else CAIKIT


__all__ = ["CAIKIT", "KOBOLDAI", "Converted", "convert"]
