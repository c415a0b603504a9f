"""KoboldAI's archive is read to the same numbers, and a hostile one is refused whole."""

from __future__ import annotations

import json
import pickle
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from langchain_softprompt.conversion import convert
from langchain_softprompt.errors import InvalidSoftPromptError, NonFiniteSoftPromptError, SoftPromptError, UnsafeFileError
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.conversion.made import META, ROWS, WIDTH, Payload, archive, header, koboldai, npy, npy_by_hand, npy_of, rows
from tests.unit_tests.soft_prompt.peft_folders import frozen, peft_logits, save_with_peft, text

TOLERANCE = 0.0  # the same numbers in the same PEFT
_FILES = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_rows_and_what_the_file_says_of_itself_come_through(dtype: torch.dtype, tmp_path: Path) -> None:
    made = convert(koboldai(tmp_path / "gloom.zip", npy_of(rows(dtype=dtype))), base_model="EleutherAI/gpt-j-6b")
    assert (made.format, made.about) == ("KoboldAI", META)
    assert (made.soft_prompt.kind, made.soft_prompt.num_virtual_tokens) == ("PROMPT_TUNING", ROWS)
    assert torch.equal(made.soft_prompt.tensors["prompt_embeddings"], rows(dtype=dtype))


def test_peft_gives_the_logits_of_the_soft_prompt_that_the_file_was_made_of(tmp_path: Path) -> None:
    model = frozen("llama")
    original = SoftPrompt.load(save_with_peft(tmp_path / "peft", "PROMPT_TUNING", model))
    file = koboldai(tmp_path / "same.zip", npy_of(original.tensors["prompt_embeddings"]))
    folder = convert(file).soft_prompt.save(tmp_path / "ours")
    expected = peft_logits(model, tmp_path / "peft", text())
    torch.testing.assert_close(peft_logits(model, folder, text()), expected, atol=TOLERANCE, rtol=0)


def test_columns_that_lie_together_are_rows_all_the_same(tmp_path: Path) -> None:
    content = npy(np.asfortranarray(rows().numpy()))
    assert b"'fortran_order': True" in content
    found = convert(koboldai(tmp_path / "a.zip", content)).soft_prompt.tensors["prompt_embeddings"]
    assert torch.equal(found, rows())
    assert found.is_contiguous()


def test_version_2_of_the_header_and_other_writers_spacing_are_read(tmp_path: Path) -> None:
    text_ = f"{{\"shape\":({ROWS},{WIDTH}),'fortran_order':False ,'descr':'<f4'}}"
    content = npy_by_hand(text_, rows().numpy().tobytes(), version=(2, 0))
    assert torch.equal(convert(koboldai(tmp_path / "a.zip", content)).soft_prompt.tensors["prompt_embeddings"], rows())


@_FILES
@given(
    count=some.integers(1, 40),
    width=some.integers(1, 40),
    dtype=some.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    by_columns=some.booleans(),
)
def test_whatever_numpy_saves_of_a_matrix_is_read_to_the_same_numbers(
    count: int, width: int, dtype: torch.dtype, by_columns: bool, tmp_path: Path
) -> None:
    wanted = rows(count, width, dtype)
    content = npy_of(wanted)
    if by_columns and dtype is not torch.bfloat16:
        content = npy(np.asfortranarray(wanted.numpy()))
    found = convert(koboldai(tmp_path / "a.zip", content)).soft_prompt.tensors["prompt_embeddings"]
    assert found.dtype == dtype
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (npy(np.array([[Payload(Path("proof"))]], dtype=object)), UnsafeFileError, "dtype: expected numbers, found Python objects"),
        (npy(rows().numpy().astype(">f4")), InvalidSoftPromptError, "dtype: expected little-endian float32.*found '>f4'"),
        (npy(rows().numpy().astype("<f8")), InvalidSoftPromptError, "found '<f8'"),
        (npy(np.zeros((2, 3), dtype="V4")), InvalidSoftPromptError, r"found '\|V4'"),
        (npy(np.zeros((2, 3), dtype=[("a", "<f2")])), InvalidSoftPromptError, "header: expected descr, fortran_order and shape"),
        (npy(np.zeros(3, dtype="<f4")), InvalidSoftPromptError, "shape: expected virtual tokens x hidden size, found 3"),
        (npy(np.zeros((1, 2, 3), dtype="<f4")), InvalidSoftPromptError, "found 1 x 2 x 3"),
        (npy(np.zeros((), dtype="<f4")), InvalidSoftPromptError, "found one number"),
        (npy(np.zeros((0, 3), dtype="<f4")), InvalidSoftPromptError, "rows: expected 1 to 2047, found 0"),
        (npy(np.zeros((3, 0), dtype="<f4")), InvalidSoftPromptError, "columns: expected 1 to 65536, found 0"),
        (npy(np.zeros((2048, 1), dtype="<f4")), InvalidSoftPromptError, "rows: expected 1 to 2047, found 2048"),
        (npy(np.zeros((1, 65_537), dtype="<f4")), InvalidSoftPromptError, "columns: expected 1 to 65536, found 65537"),
        (npy(np.array([[1, np.nan, np.inf]], dtype="<f4")), NonFiniteSoftPromptError, "expected finite numbers, found 2 NaN or Inf"),
        (npy_of(torch.tensor([[float("-inf")]], dtype=torch.bfloat16)), NonFiniteSoftPromptError, "found 1 NaN or Inf"),
        (npy_of(rows())[:-1], InvalidSoftPromptError, r"length: expected 768 bytes of numbers \(6 x 32\), found 767 bytes"),
        (npy_of(rows()) + b"\0", InvalidSoftPromptError, "found 769 bytes"),
        (npy_of(rows())[:40], InvalidSoftPromptError, "header: expected 118 bytes, found 30 bytes"),
        (npy_of(rows())[:9], InvalidSoftPromptError, "header: expected"),
        (npy_of(rows())[:7], InvalidSoftPromptError, "format: expected an .npy file"),
        (b"", InvalidSoftPromptError, "format: expected an .npy file"),
        (pickle.dumps(Payload(Path("proof"))), InvalidSoftPromptError, "format: expected an .npy file"),
        (npy_by_hand(header(), version=(3, 0)), InvalidSoftPromptError, "version: expected 1.0 or 2.0"),
        (npy_by_hand(" " * 5000 + header()), InvalidSoftPromptError, "header: expected at most 4096 bytes, found a header of 50"),
        (b"\x93NUMPY\x02\0\xff\xff\xff\xff", InvalidSoftPromptError, "found a header of 4294967295 bytes"),
        (npy_by_hand(header(shape="(99999999, 99999999)")), InvalidSoftPromptError, "rows: expected 1 to 2047, found 99999999"),
        (npy_by_hand(header(shape="(-1, 3)")), InvalidSoftPromptError, "header: expected"),
        (npy_by_hand(header(shape="(1 2, 3)")), InvalidSoftPromptError, "shape: expected whole numbers"),
        (npy_by_hand("{'descr': '<f4', 'shape': (2, 3)}"), InvalidSoftPromptError, "header: expected"),
        (npy_by_hand("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}"), InvalidSoftPromptError, "header"),
        (npy_by_hand(header() + "__import__('os').system('touch proof')"), InvalidSoftPromptError, "header: expected"),
        (npy_by_hand("[" * 4000), InvalidSoftPromptError, "header: expected"),
        (npy_by_hand(""), InvalidSoftPromptError, "found nothing"),
    ],
)
def test_anything_but_a_plain_matrix_is_refused(
    content: bytes, error: type[SoftPromptError], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said) as caught:
        convert(koboldai(tmp_path / "a.zip", content))
    assert type(caught.value) is error
    assert str(caught.value).startswith("a.zip")
    assert not Path("proof").exists()


@_FILES
@given(text_=some.text(some.characters(max_codepoint=255), max_size=200), whole=some.booleans())
def test_whatever_the_header_is_only_typed_errors_come_out(text_: str, whole: bool, tmp_path: Path) -> None:
    content = npy_by_hand(header() + text_ if whole else text_, rows().numpy().tobytes())
    try:
        found = convert(koboldai(tmp_path / "a.zip", content)).soft_prompt.tensors["prompt_embeddings"]
    except InvalidSoftPromptError:
        return
    assert torch.equal(found, rows())  # what was added was space


@pytest.mark.parametrize(
    "meta", [None, {}, [], b"{", b'{"name": NaN}', b"\xff", b"[" * 100_000, b"1" * (2 << 20), {"name": 3, "author": ["a", "b"]}]
)
def test_what_the_file_says_of_itself_may_be_missing_but_not_malformed(meta: object, tmp_path: Path) -> None:
    file = koboldai(tmp_path / "a.zip", npy_of(rows()), meta)
    if meta is None or isinstance(meta, dict) or meta == b'{"name": NaN}':
        assert convert(file).about == ({"author": "a, b"} if meta and isinstance(meta, dict) else {})
    else:
        with pytest.raises(InvalidSoftPromptError, match=r"a\.zip/meta\.json: (content|size)"):
            convert(file)


def test_a_strangers_words_are_short_and_steer_no_terminal(tmp_path: Path) -> None:
    hostile = {"name": "\x1b[2J" + "x" * 100_000, "description": "two\nlines"}
    about = convert(koboldai(tmp_path / "a.zip", npy_of(rows()), hostile)).about
    assert about["name"].startswith("\\x1b[2J")
    assert len(about["name"]) <= 2000
    assert about["description"] == "two\\nlines"


@pytest.mark.parametrize(
    "name",
    ["../tensor.npy", "/etc/tensor.npy", "a/../../b", "..", "C:/x", "a\\..\\b", "a\nb", "\x1b[2J"],
)
def test_a_name_that_leads_out_of_the_archive_refuses_all_of_it(name: str, tmp_path: Path) -> None:
    file = archive(tmp_path / "a.zip", {"tensor.npy": npy_of(rows()), name: b"x"})
    with pytest.raises(UnsafeFileError, match="member: expected a plain name inside the archive") as caught:
        convert(file)
    assert "\x1b" not in str(caught.value)


def test_a_name_that_python_cuts_short_is_refused(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip", {"tensor.npyX../x": npy_of(rows())})
    content = (tmp_path / "a.zip").read_bytes().replace(b"tensor.npyX../x", b"tensor.npy\0../x")
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UnsafeFileError, match="a plain name"):
        convert(tmp_path / "a.zip")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_a_link_or_a_device_in_the_archive_refuses_all_of_it(kind: int, tmp_path: Path) -> None:
    odd = zipfile.ZipInfo("link")
    odd.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as new:
        new.writestr("tensor.npy", npy_of(rows()))
        new.writestr(odd, "/etc/passwd")
    with pytest.raises(UnsafeFileError, match="link: expected a regular file in the archive, found"):
        convert(tmp_path / "a.zip")


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    """Readers differ in which they take."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as new:
        new.writestr("tensor.npy", npy_of(rows()))
        with pytest.warns(UserWarning, match="Duplicate name"):
            new.writestr("tensor.npy", npy_of(rows(seed=1)))
    with pytest.raises(InvalidSoftPromptError, match=r"members: expected each name once, found 'tensor\.npy'"):
        convert(tmp_path / "a.zip")


def test_too_many_members_are_refused_before_they_are_listed(tmp_path: Path) -> None:
    file = archive(tmp_path / "a.zip", {f"{number}": b"" for number in range(65)})
    with pytest.raises(InvalidSoftPromptError, match="members: expected at most 64, found 65"):
        convert(file)


def test_a_packing_that_python_unpacks_without_bound_is_refused(tmp_path: Path) -> None:
    for packing in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = archive(tmp_path / "a.zip", {"tensor.npy": npy_of(rows())}, packing)
        with pytest.raises(InvalidSoftPromptError, match="expected stored or deflated, found method"):
            convert(file)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    content = bytearray(koboldai(tmp_path / "a.zip", npy_of(rows()), None).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InvalidSoftPromptError, match="not encrypted, found a password"):
        convert(tmp_path / "a.zip")


def test_a_bomb_is_not_unpacked_whatever_it_says_it_is(tmp_path: Path) -> None:
    """300 megabytes of zeros: refused by its size as it is told; where that is a lie, no more than that is unpacked."""
    honest = archive(tmp_path / "honest.zip", {"tensor.npy": bytes(300 << 20)})
    assert honest.stat().st_size < 1 << 20
    with pytest.raises(InvalidSoftPromptError, match="size: expected at most 268435456 bytes unpacked, found 314572800 bytes"):
        convert(honest)
    size, lie = (300 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little")
    (tmp_path / "lying.zip").write_bytes(honest.read_bytes().replace(size, lie))
    with pytest.raises(InvalidSoftPromptError, match=r"lying\.zip: content: expected a whole zip file, found Bad CRC-32"):
        convert(tmp_path / "lying.zip")


def test_a_member_that_is_shorter_than_it_says_is_refused(tmp_path: Path) -> None:
    file = archive(tmp_path / "a.zip", {"tensor.npy": npy_of(rows())}, zipfile.ZIP_STORED)
    size = len(npy_of(rows()))
    content = file.read_bytes().replace(size.to_bytes(4, "little"), (size + 64).to_bytes(4, "little"))
    file.write_bytes(content)
    with pytest.raises(InvalidSoftPromptError):
        convert(file)


@_FILES
@given(where=some.floats(0, 1, exclude_max=True), byte=some.integers(0, 255), end=some.floats(0, 1))
def test_one_byte_changed_or_the_end_cut_off_gives_the_rows_or_a_typed_error(where: float, byte: int, end: float, tmp_path: Path) -> None:
    whole = bytearray(koboldai(tmp_path / "a.zip", npy_of(rows())).read_bytes())
    cut = whole[: round(end * len(whole))]
    whole[int(where * len(whole))] = byte
    for content in (whole, cut):
        (tmp_path / "a.zip").write_bytes(content)
        try:
            assert torch.equal(convert(tmp_path / "a.zip").soft_prompt.tensors["prompt_embeddings"], rows())
        except InvalidSoftPromptError:
            continue


def test_json_is_what_koboldai_writes(tmp_path: Path) -> None:
    """With a byte-order mark too, as some editors leave it."""
    content = b"\xef\xbb\xbf" + json.dumps(META).encode()
    assert convert(koboldai(tmp_path / "a.zip", npy_of(rows()), content)).about == META
