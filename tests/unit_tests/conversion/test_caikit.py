"""caikit's and TGIS's decoder.pt is read to the same numbers, and nothing in it is run."""

from __future__ import annotations

import contextlib
import pickle
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from langchain_softprompt.conversion import convert
from langchain_softprompt.errors import (
    InvalidSoftPromptError,
    NonFiniteSoftPromptError,
    SoftPromptError,
    UnsafeFileError,
    UnsupportedSoftPromptError,
)
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.conversion.made import Payload, caikit, changed, payload_runs, rows
from tests.unit_tests.soft_prompt.peft_folders import frozen, peft_logits, save_with_peft, text

TOLERANCE = 0.0  # the same numbers in the same PEFT


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_rows_come_through_as_they_are(dtype: torch.dtype, tmp_path: Path) -> None:
    made = convert(caikit(tmp_path, rows(dtype=dtype)), base_model="acme/base")
    assert (made.format, made.about) == ("caikit", {})
    assert made.soft_prompt.kind == "PROMPT_TUNING"
    assert made.soft_prompt.config.base_model_name_or_path == "acme/base"
    assert torch.equal(made.soft_prompt.tensors["prompt_embeddings"], rows(dtype=dtype))
    assert made.soft_prompt.manifest is None


def test_peft_gives_the_logits_of_the_soft_prompt_that_the_file_was_made_of(tmp_path: Path) -> None:
    model = frozen("llama")
    original = SoftPrompt.load(save_with_peft(tmp_path / "peft", "PROMPT_TUNING", model))
    file = caikit(tmp_path / "caikit", original.tensors["prompt_embeddings"])
    folder = convert(file).soft_prompt.save(tmp_path / "ours")
    expected = peft_logits(model, tmp_path / "peft", text())
    torch.testing.assert_close(peft_logits(model, folder, text()), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("a parameter", torch.nn.Parameter(rows())),
        ("the second half of both parts' rows, whose storage holds both", torch.cat([rows(seed=1), rows()])[6:]),
        ("columns that lie together", rows().T.contiguous().T),
    ],
)
def test_however_the_tensor_lies_in_its_storage(name: str, saved: torch.Tensor, tmp_path: Path) -> None:
    found = convert(caikit(tmp_path, saved)).soft_prompt.tensors["prompt_embeddings"]
    assert torch.equal(found, rows())
    assert found.is_contiguous()
    assert not found.requires_grad
    assert found.untyped_storage().nbytes() == found.numel() * 4


def test_the_file_may_be_named_otherwise_and_through_a_link(tmp_path: Path) -> None:
    caikit(tmp_path / "there", rows(), "grey.pt")
    (tmp_path / "link.pt").symlink_to(tmp_path / "there" / "grey.pt")
    assert convert(tmp_path / "link.pt").soft_prompt.num_virtual_tokens == 6


def test_an_encoder_decoder_models_soft_prompt_is_refused_for_the_encoder_beside_it(tmp_path: Path) -> None:
    file = caikit(tmp_path / "model", rows())
    caikit(tmp_path / "model", rows(), "encoder.pt")
    (tmp_path / "decoder.pt").symlink_to(file)
    for named in (file, tmp_path / "model" / "encoder.pt", tmp_path / "decoder.pt"):
        with pytest.raises(UnsupportedSoftPromptError, match=r"encoder\.pt beside it: it is of an encoder-decoder model"):
            convert(named)


def test_a_payload_is_named_and_does_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    payload_runs(pickle.dumps(Payload(proof)))
    assert proof.exists()
    proof.unlink()

    for content in (Payload(proof), [rows(), Payload(proof)], {"a": rows(), "b": Payload(proof)}):
        with pytest.raises(UnsafeFileError, match=r"data\.pkl: expected a tensor and nothing else, found .*pathlib\.Path\.touch|getattr"):
            convert(caikit(tmp_path, content))
    for protocol in range(6):
        file = changed(caikit(tmp_path, rows()), {"data.pkl": pickle.dumps(Payload(proof), protocol=protocol)})
        with pytest.raises(UnsafeFileError):
            convert(file)
    assert not proof.exists()


def test_a_payload_hidden_in_another_member_does_not_run(tmp_path: Path) -> None:
    """Members that nobody asked for are not unpickled."""
    proof = tmp_path / "proof"
    payload = pickle.dumps(Payload(proof))
    file = changed(caikit(tmp_path, rows()), {"constants.pkl": payload, "code/evil.py": b"raise SystemExit", ".data/x": payload})
    assert torch.equal(convert(file).soft_prompt.tensors["prompt_embeddings"], rows())
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ({"prompt_embeddings": rows()}, InvalidSoftPromptError, "expected one tensor, found a dictionary, as PEFT and checkpoints have it"),
        ([rows()], InvalidSoftPromptError, "expected one tensor, found APPEND, EMPTY_LIST"),
        ((rows(), rows()), InvalidSoftPromptError, "tensors: expected one, found 2"),
        ("words", InvalidSoftPromptError, "tensors: expected one, found 0"),
        ((rows(), "words"), InvalidSoftPromptError, "content: expected a plain tensor, found tuple"),
        (rows().double(), InvalidSoftPromptError, r"dtype: .*found torch.float64. Save the tensor alone: torch.save\(rows.float\(\)"),
        (torch.ones(2, 3, dtype=torch.long), InvalidSoftPromptError, "found torch.int64"),
        (torch.ones(2, 3, dtype=torch.cfloat), UnsafeFileError, "found torch.ComplexFloatStorage"),
        (rows().to_sparse(), UnsafeFileError, "_rebuild_sparse_tensor"),
        (torch.empty(2, 3, device="meta"), UnsafeFileError, "_rebuild_meta_tensor_no_storage"),
        (rows()[0], InvalidSoftPromptError, "shape: expected virtual tokens x hidden size, found 32"),
        (rows()[None], InvalidSoftPromptError, "found 1 x 6 x 32"),
        (torch.tensor(1.0), InvalidSoftPromptError, "found one number"),
        (torch.zeros(0, 3), InvalidSoftPromptError, "rows: expected 1 to 16384, found 0"),
        (torch.zeros(3, 0), InvalidSoftPromptError, "columns: expected 1 to 65536, found 0"),
        (torch.zeros(16_385, 1), InvalidSoftPromptError, "rows: expected 1 to 16384, found 16385"),
        (torch.zeros(1, 65_537), InvalidSoftPromptError, "columns: expected 1 to 65536, found 65537"),
        (torch.ones(1, 1).expand(10_000, 60_000), InvalidSoftPromptError, "length: expected 2400000000 bytes of numbers, found 4 bytes"),
        (
            torch.tensor([[1.0, float("nan"), float("inf")]]),
            NonFiniteSoftPromptError,
            "numbers: expected finite numbers, found 2 NaN or Inf",
        ),
        ({"string_to_param": {"*": rows()}, "name": "cat"}, UnsupportedSoftPromptError, "a textual inversion"),
    ],
)
def test_anything_but_one_matrix_is_refused(content: object, error: type[SoftPromptError], said: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=said) as caught:
        convert(caikit(tmp_path, content))
    assert type(caught.value) is error
    assert str(caught.value).startswith("decoder.pt: ")


def test_numbers_that_are_not_in_the_file_are_never_read(tmp_path: Path) -> None:
    """PyTorch before 2.10 took the pickle's word for how many there are (CVE-2026-24747)."""
    for numbers in (b"", b"\0" * 4, b"\0" * (6 * 32 * 4 - 1), b"\0" * (6 * 32 * 4 + 4)):
        with pytest.raises(InvalidSoftPromptError, match=r"decoder\.pt: (content|length): expected"):
            convert(changed(caikit(tmp_path, rows()), {"data/0": numbers}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.pkl": b""}, "expected a whole pickle, found pickle exhausted before seeing STOP"),
        ({"data.pkl": b"\x80\x02"}, "expected a whole pickle"),
        ({"data.pkl": b"\xff."}, "expected a whole pickle"),
        ({"data.pkl": b"N."}, "found NONE"),
        ({"data.pkl": b"0" * 70_000}, "size: expected at most 65536 bytes, found 70000 bytes"),
        ({"data/0": None}, "tensors: expected one, found 0"),
        ({"data/1": b"1234"}, "tensors: expected one, found 2"),
        ({"byteorder": {"little": b"big", "big": b"little"}[sys.byteorder]}, "byteorder: expected"),
        ({"byteorder": b"?" * 65}, "size: expected at most 64 bytes"),
        ({"sub/data.pkl": b"N."}, "members: expected one data.pkl, found"),
    ],
)
def test_a_damaged_archive_is_refused(changes: dict[str, bytes | None], said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSoftPromptError, match=said):
        convert(changed(caikit(tmp_path, rows()), changes))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A quarter of a gigabyte of zeros packs to some hundred kilobytes; it is refused by what it says it is."""
    file = changed(caikit(tmp_path, rows()), {"data/0": bytes(257 << 20)}, zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 1 << 20
    with pytest.raises(InvalidSoftPromptError, match="size: expected at most 268435456 bytes unpacked"):
        convert(file)


def test_a_file_of_pytorch_before_1_6_is_a_bare_pickle_and_refused(tmp_path: Path) -> None:
    torch.save(rows(), tmp_path / "decoder.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(UnsafeFileError, match=r"a bare pickle.*torch.save\(rows, 'decoder.pt'\).*PyTorch 1.6 or newer"):
        convert(tmp_path / "decoder.pt")


_FILES = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_FILES
@given(pickled=some.binary(max_size=200))
def test_whatever_the_pickle_is_only_typed_errors_come_out(pickled: bytes, tmp_path: Path) -> None:
    file = changed(caikit(tmp_path, rows()), {"data.pkl": pickled})
    with pytest.raises(InvalidSoftPromptError):
        convert(file)


@_FILES
@given(where=some.floats(0, 1, exclude_max=True), byte=some.integers(0, 255), end=some.floats(0, 1))
def test_one_byte_changed_or_the_end_cut_off_gives_rows_or_a_typed_error(where: float, byte: int, end: float, tmp_path: Path) -> None:
    whole = bytearray(caikit(tmp_path, rows(2, 3)).read_bytes())
    cut = whole[: round(end * len(whole))]
    whole[int(where * len(whole))] = byte
    for content in (whole, cut):
        (tmp_path / "decoder.pt").write_bytes(content)
        try:
            assert convert(tmp_path / "decoder.pt").soft_prompt.num_virtual_tokens > 0
        except InvalidSoftPromptError:
            continue


@_FILES
@given(pickled=some.data())
def test_one_byte_changed_in_the_pickle_itself_gives_rows_or_a_typed_error(pickled: some.DataObject, tmp_path: Path) -> None:
    """The archive is whole, so the change gets to PyTorch unless it is found before."""
    file = caikit(tmp_path, rows(2, 3))
    with zipfile.ZipFile(file) as archive:
        steps = bytearray(archive.read("decoder/data.pkl"))
    steps[pickled.draw(some.integers(0, len(steps) - 1))] = pickled.draw(some.integers(0, 255))
    with contextlib.suppress(InvalidSoftPromptError):
        assert convert(changed(file, {"data.pkl": bytes(steps)})).soft_prompt.num_virtual_tokens > 0
