"""What can't be read without running what is in it is refused by name, with why and what to do instead."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from safetensors.torch import save

from langchain_softprompt.conversion import convert
from langchain_softprompt.errors import (
    InvalidSoftPromptError,
    SoftPromptError,
    SoftPromptNotFoundError,
    UnsafeFileError,
    UnsupportedSoftPromptError,
)
from tests.unit_tests.conversion.made import Payload, archive, caikit, changed, koboldai, npy_of, rows


def _pickle(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def _mkultra() -> bytes:
    tensor = base64.b64encode(pickle.dumps(Payload(Path("proof")), protocol=4)).decode()
    return json.dumps({"metadata": {"name": "Gloom", "uuid": "1"}, "tensor": tensor}).encode()


def _tar(mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as new:  # type: ignore[call-overload]
        content = pickle.dumps(Payload(Path("proof")))
        member = tarfile.TarInfo("./model_weights.ckpt")
        member.size = len(content)
        new.addfile(member, io.BytesIO(content))
    return stream.getvalue()


_ROWS = _pickle(rows())
_PAYLOAD = _pickle(Payload(Path("proof")))


@pytest.mark.parametrize(
    ("name", "content", "error", "found", "hint"),
    [
        ("adapter_model.bin", _ROWS, UnsafeFileError, "PEFT's pickled weights", "save_pretrained(new_folder, safe_serialization=True)"),
        ("ADAPTER_MODEL.BIN", _PAYLOAD, UnsafeFileError, "PEFT's pickled weights", "safe_serialization=True"),
        ("prompt.pth", _ROWS, UnsafeFileError, "pickled weights", "safe_serialization=True"),
        ("prompt.bin", _PAYLOAD, UnsafeFileError, "pickled weights", "safe_serialization=True"),
        ("pytorch_model.bin", b"", UnsafeFileError, "PEFT's pickled weights", "safe_serialization=True"),
        ("last.ckpt", _PAYLOAD, UnsafeFileError, "pickled weights", "never read"),
        (
            "gloom.json",
            _mkultra(),
            UnsafeFileError,
            "mkultra's JSON with a pickle in base64",
            "load it in mkultra, save its rows with torch.save",
        ),
        ("gloom.sp", b"  " + _mkultra(), UnsafeFileError, "mkultra's JSON with a pickle in base64", "load it in mkultra"),
        ("prompt_provider.bin", _ROWS, UnsafeFileError, "ruPrompts' pickled prompt provider", "Train one again from the same hard prompt"),
        ("tuned.nemo", _tar("w"), UnsafeFileError, "a NeMo archive with a pickled checkpoint", "load it in NeMo, save its rows"),
        ("tuned.dat", _tar("w"), UnsafeFileError, "a tar or gzip archive", "save its rows with torch.save"),
        ("tuned.dat", _tar("w:gz"), UnsafeFileError, "a tar or gzip archive", "save its rows with torch.save"),
        ("learned_embeds.bin", _PAYLOAD, UnsupportedSoftPromptError, "a textual inversion", "No language model reads them"),
        ("learned_embeds.safetensors", b"", UnsupportedSoftPromptError, "a textual inversion", "No language model reads them"),
        ("cat.safetensors", save({"emb_params": rows()}), UnsupportedSoftPromptError, "a textual inversion", "No language model"),
        ("cat.safetensors", save({"clip_g": rows()}), UnsupportedSoftPromptError, "a textual inversion", "No language model"),
        ("prompt.pt", pickle.dumps(Payload(Path("proof"))), UnsafeFileError, "a bare pickle", "PyTorch 1.6 or newer"),
        ("prompt.pkl", b"", UnsafeFileError, "a bare pickle", "never read"),
        (
            "adapter_model.safetensors",
            save({"prompt_embeddings": rows()}),
            InvalidSoftPromptError,
            "PEFT's own file",
            "use the folder it is in",
        ),
        ("other.safetensors", save({"rows": rows()}), InvalidSoftPromptError, "neither", ""),
        ("readme.txt", b"hello", InvalidSoftPromptError, "neither", ""),
        ("empty.pt", b"", InvalidSoftPromptError, "neither", ""),
    ],
)
def test_a_known_format_that_is_not_read_is_named(
    name: str, content: bytes, error: type[SoftPromptError], found: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidSoftPromptError) as caught:
        convert(tmp_path / name)
    assert type(caught.value) is error
    assert str(caught.value).startswith(f"{name}: format: expected a caikit decoder.pt or a KoboldAI .zip, found {found}")
    assert hint in caught.value.hint
    assert not Path("proof").exists()


def test_an_archive_of_neither_format_or_of_both_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSoftPromptError, match=r"found an archive of a/tensor\.npy, b/tensor\.npy"):
        convert(archive(tmp_path / "a.zip", {"a/tensor.npy": npy_of(rows()), "b/tensor.npy": npy_of(rows())}))
    with pytest.raises(InvalidSoftPromptError, match="found both in one archive"):
        convert(archive(tmp_path / "a.zip", {"tensor.npy": npy_of(rows()), "x/data.pkl": b"N."}))
    both = changed(caikit(tmp_path, rows()), {"tensor.npy": b""})
    with pytest.raises(InvalidSoftPromptError, match="found") as caught:
        convert(archive(both, {"tensor.npy": npy_of(rows()), "y/data.pkl": b"N."}))
    assert caught.value.field == "format"


def test_a_folder_is_refused_and_what_could_be_meant_in_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSoftPromptError, match=r"found a folder\. Name a file\."):
        convert(tmp_path)
    caikit(tmp_path, rows())
    koboldai(tmp_path / "gloom.zip", npy_of(rows()))
    with pytest.raises(InvalidSoftPromptError, match=r"Name one file in it: decoder\.pt, gloom\.zip\."):
        convert(tmp_path)
    for number in range(20):
        (tmp_path / f"{number}.zip").touch()
    with pytest.raises(InvalidSoftPromptError, match=r", \.\.\.\."):
        convert(tmp_path)


@pytest.mark.parametrize("name", ["missing.pt", "a/b.pt", "nul\0.pt", "x" * 300, "loop.pt"])
def test_what_is_not_there_is_said_to_be_not_there(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop.pt").symlink_to(tmp_path / "loop.pt")
    with pytest.raises(SoftPromptNotFoundError, match="There is no file at"):
        convert(tmp_path / name)


def test_a_named_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "decoder.pt")
    with pytest.raises(UnsafeFileError, match="kind: expected a regular file, found prw"):
        convert(tmp_path / "decoder.pt")
    with pytest.raises(UnsafeFileError, match="expected a regular file, found crw"):
        convert("/dev/zero")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "decoder.pt").open("wb") as file:
        file.truncate((256 << 20) + 1)
    with pytest.raises(InvalidSoftPromptError, match="size: expected at most 268435456 bytes, found 268435457 bytes"):
        convert(tmp_path / "decoder.pt")


@pytest.mark.parametrize("name", ["../escape", "a\nb", "x" * 2000])
def test_a_base_model_that_cant_be_written_down_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSoftPromptError, match="base_model_name_or_path"):
        convert(caikit(tmp_path, rows()), base_model=name)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=some.binary(max_size=400), begin=some.sampled_from([b"", b"PK\x03\x04", b"PK\x01\x02", b"\x93NUMPY", b"{", b"\x80\x02"]))
def test_whatever_the_file_is_only_typed_errors_come_out(content: bytes, begin: bytes, tmp_path: Path) -> None:
    (tmp_path / "some.pt").write_bytes(begin + content)
    with pytest.raises(InvalidSoftPromptError):
        convert(tmp_path / "some.pt")
