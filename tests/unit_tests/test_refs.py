"""References to soft prompts: which text is read as what, and that nothing else comes out."""

from __future__ import annotations

import builtins
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langchain_softprompt.errors import InvalidReferenceError
from langchain_softprompt.refs import SoftPromptRef


@pytest.mark.parametrize(
    ("text", "repo_id", "revision", "subfolder"),
    [
        ("acme/router", "acme/router", None, None),
        ("acme/router@v2", "acme/router", "v2", None),
        ("acme/router@refs/pr/1", "acme/router", "refs/pr/1", None),
        ("acme/router@" + "0a" * 20, "acme/router", "0a" * 20, None),
        ("acme/router@v1+cpu", "acme/router", "v1+cpu", None),
        ("acme/router@_2024,rc=1/a-b", "acme/router", "_2024,rc=1/a-b", None),
        ("acme/router#prompts/de", "acme/router", None, "prompts/de"),
        ("acme/router@v2#prompts", "acme/router", "v2", "prompts"),
        ("acme/router#a@b", "acme/router", None, "a@b"),
        ("acme/router#a#b", "acme/router", None, "a#b"),
        ("A1/b_c.d-e", "A1/b_c.d-e", None, None),
    ],
)
def test_hub_text_is_read_as_repository_revision_and_subfolder(
    text: str, repo_id: str, revision: str | None, subfolder: str | None
) -> None:
    ref = SoftPromptRef.parse(text)
    assert (ref.repo_id, ref.revision, ref.subfolder, ref.folder) == (repo_id, revision, subfolder, None)
    assert str(ref) == text


@pytest.mark.parametrize(
    "text", ["./router", "../router", "/srv/router", "~/router", ".", "./acme/router@v2", r"C:\prompts", "D:/prompts", ".hidden"]
)
def test_text_that_begins_like_a_path_is_a_folder(text: str) -> None:
    ref = SoftPromptRef.parse(text)
    assert ref.folder == Path(text)
    assert ref.repo_id is None


def test_a_path_object_is_always_a_folder() -> None:
    assert SoftPromptRef.parse(Path("acme/router")).folder == Path("acme/router")


@pytest.mark.parametrize("folder", ["acme/router", "router", "./acme/router"])
def test_a_folder_written_out_is_read_back_as_a_folder_and_not_as_a_repository(folder: str) -> None:
    ref = SoftPromptRef.parse(Path(folder))
    assert SoftPromptRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "router",
        "acme/",
        "a/b/c",
        "acme/router@",
        "acme/router#",
        "acme/router@#x",
        "acme/router@v1..v2",
        "acme/router@-x",
        "acme/router@+x",
        "acme/router@a//b",
        "acme/router@a/",
        "acme/router@a/.b",
        "acme/router@a.",
        "acme/router@a.lock/b",
        "acme/router@" + "x" * 129,
        "acme/router@v 2",
        "acme/router#../x",
        "acme/router#/etc",
        "acme/router#a//b",
        "acme/router#a/",
        "acme/router#a\\b",
        "acme/ro--uter",
        "acme/ro..uter",
        "acme/router\n",
        "acme/röuter",
        "acme /router",
        "https://huggingface.co/acme/router",
        "acme/" + "x" * 97,
        "acme/router\0",
    ],
)
def test_other_text_is_refused_with_the_grammar_in_the_message(text: str) -> None:
    with pytest.raises(InvalidReferenceError, match="org/name@revision#subfolder"):
        SoftPromptRef.parse(text)


@pytest.mark.parametrize("value", [None, 3, b"acme/router", ["acme/router"]])
def test_something_that_is_no_text_is_refused_by_its_type(value: object) -> None:
    with pytest.raises(InvalidReferenceError, match=type(value).__name__):
        SoftPromptRef.parse(value)  # type: ignore[arg-type]


_NEAR_MISSES = st.text(alphabet="aB0/@#.-_~\\: \0ü", max_size=20)


@given(st.text() | _NEAR_MISSES)
@example("./acme/router")
@example("acme/router#a@b")
@example("C:x")
def test_any_text_gives_a_reference_that_reads_back_the_same_or_one_typed_error(text: str) -> None:
    try:
        ref = SoftPromptRef.parse(text)
    except InvalidReferenceError:
        return
    assert SoftPromptRef.parse(str(ref)) == ref
    assert (ref.folder is None) != (ref.repo_id is None)


def test_reading_a_reference_touches_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("looked at a file")

    for owner, name in ((os, "stat"), (os, "lstat"), (os, "scandir"), (os.path, "exists"), (builtins, "open")):
        monkeypatch.setattr(owner, name, refuse)
    SoftPromptRef.parse("acme/router@v2#x")
    SoftPromptRef.parse("./router")
