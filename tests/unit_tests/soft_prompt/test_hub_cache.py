"""The Hub cache's layout, whose snapshots are links into a folder of blobs, loads; other links out don't."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_softprompt.errors import UnsafeFileError
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.soft_prompt.mutations import CONFIG, TENSORS, valid

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def snapshot(cache: Path, *, repo: str = "models--acme--prompt", subfolder: str = "", commit: str = COMMIT) -> Path:
    """A repository as `snapshot_download` lays it out."""
    blobs, folder = cache / repo / "blobs", cache / repo / "snapshots" / commit / subfolder
    blobs.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True)
    up = "../" * (2 + len(Path(subfolder).parts))
    for number, name in enumerate((CONFIG, TENSORS)):
        blob = blobs / (f"{number}" * 40)
        blob.write_bytes(valid("PROMPT_TUNING")[name])
        (folder / name).symlink_to(f"{up}blobs/{blob.name}")
    return folder


@pytest.mark.parametrize("subfolder", ["", "prompts", "prompts/clean"])
def test_a_snapshot_of_the_hub_cache_loads(subfolder: str, tmp_path: Path) -> None:
    assert SoftPrompt.load(snapshot(tmp_path, subfolder=subfolder)).kind == "PROMPT_TUNING"


def test_a_snapshot_loads_where_the_cache_or_the_snapshot_is_named_by_a_link(tmp_path: Path) -> None:
    real = snapshot(tmp_path / "disk")
    (tmp_path / "cache").symlink_to("disk")
    (tmp_path / "mine").symlink_to(real)
    for folder in (tmp_path / "cache" / real.relative_to(tmp_path / "disk"), tmp_path / "mine"):
        assert SoftPrompt.load(folder).kind == "PROMPT_TUNING"


def test_a_relative_path_to_a_snapshot_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = snapshot(tmp_path)
    monkeypatch.chdir(folder)
    assert SoftPrompt.load(".").kind == "PROMPT_TUNING"


def test_a_snapshot_may_not_link_into_another_repository(tmp_path: Path) -> None:
    folder = snapshot(tmp_path)
    private = snapshot(tmp_path, repo="models--acme--private")
    (folder / TENSORS).unlink()
    (folder / TENSORS).symlink_to((private / TENSORS).resolve())
    with pytest.raises(UnsafeFileError, match=f"{TENSORS}: path: expected a file inside the folder, found a link that leaves it"):
        SoftPrompt.load(folder)


@pytest.mark.parametrize(("repo", "commit"), [("models--acme--prompt", "main"), ("prompt", COMMIT)], ids=["no commit", "no repository"])
def test_a_folder_that_only_looks_like_the_hub_cache_may_not_link_out(repo: str, commit: str, tmp_path: Path) -> None:
    folder = snapshot(tmp_path, repo=repo, commit=commit)
    with pytest.raises(UnsafeFileError, match="found a link that leaves it"):
        SoftPrompt.load(folder)


@pytest.mark.parametrize("planted", ["blobs", "snapshots"])
def test_a_planted_link_in_place_of_the_caches_own_folders_opens_no_way_out(planted: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in (CONFIG, TENSORS):
        (outside / name).write_bytes(valid("PROMPT_TUNING")[name])
    repository = tmp_path / "models--acme--prompt"
    if planted == "blobs":
        folder = repository / "snapshots" / COMMIT
        folder.mkdir(parents=True)
        (repository / "blobs").symlink_to(outside)
    else:
        (outside / "snapshots" / COMMIT).mkdir(parents=True)
        (repository / "blobs").mkdir(parents=True)
        (repository / "snapshots").symlink_to(outside / "snapshots")
        folder = repository / "snapshots" / COMMIT
    for name in (CONFIG, TENSORS):
        (folder / name).symlink_to(outside / name)
    with pytest.raises(UnsafeFileError):
        SoftPrompt.load(folder)
