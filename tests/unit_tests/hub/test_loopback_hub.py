"""Our own small Hub, as the real client sees it when all goes well."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, scan_cache_dir, snapshot_download

from tests.hub import TOKEN, USER, LoopbackHub
from tests.unit_tests.hub.clients import CARD, CONTENTS, REPO, SMALL, by_xet, noise, pulled, push, result_of, start

pytest_plugins = ("tests.hub.fixtures",)


def contents_of(hub: LoopbackHub) -> dict[str, bytes]:
    return {path: content for path, content in hub.files(REPO).items() if path != ".gitattributes"}


# A push and a pull


def test_a_push_and_a_pull_carry_the_same_bytes(loopback: LoopbackHub, hub_api: HfApi) -> None:
    hub_api.create_repo(REPO)
    commit = push(hub_api, CONTENTS, parent_commit=loopback.head(REPO))
    assert loopback.head(REPO) == commit
    assert contents_of(loopback) == CONTENTS
    assert pulled(hub_api.snapshot_download(REPO)) == CONTENTS


@by_xet
def test_large_files_come_and_go_by_xet_and_small_ones_do_not(loopback: LoopbackHub, hub_api: HfApi) -> None:
    hub_api.create_repo(REPO)
    commit = push(hub_api, CONTENTS)
    hub_api.snapshot_download(REPO)
    assert f"GET /api/models/{REPO}/xet-write-token/main" in loopback.requests
    assert f"GET /api/models/{REPO}/xet-read-token/{commit}" in loopback.requests
    assert not [asked for asked in loopback.requests if "lfs" in asked or asked.endswith(".safetensors")]
    assert f"GET /{REPO}/resolve/{commit}/adapter_config.json" in loopback.requests


@pytest.mark.parametrize("xet_disabled", ["0", "1"])
def test_a_process_of_its_own_pushes_a_folder_and_pulls_it_with_xet_and_without(
    loopback: LoopbackHub, tmp_path: Path, xet_disabled: str
) -> None:
    for path, content in CONTENTS.items():
        (tmp_path / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / path).write_bytes(content)
    script = """
repo, folder = arguments
api.create_repo(repo)
api.upload_folder(repo_id=repo, folder_path=folder)
print(api.snapshot_download(repo))
"""
    process = start(script, loopback, tmp_path / "home", REPO, str(tmp_path / "source"), HF_HUB_DISABLE_XET=xet_disabled)
    assert pulled(result_of(process)) == CONTENTS == contents_of(loopback)
    assert any("xet" in asked for asked in loopback.requests) is (xet_disabled == "0")
    assert any("PUT /lfs-upload/" in asked for asked in loopback.requests) is (xet_disabled == "1")


def test_what_came_by_xet_can_be_pulled_over_http(loopback: LoopbackHub, hub_api: HfApi) -> None:
    hub_api.create_repo(REPO)
    push(hub_api, CONTENTS)
    loopback.offers_xet = False
    assert pulled(hub_api.snapshot_download(REPO)) == CONTENTS
    assert f"GET /{REPO}/resolve/{loopback.head(REPO)}/adapter_model.safetensors" in loopback.requests


def test_what_was_put_straight_into_git_is_pulled_like_a_push(loopback: LoopbackHub, hub_api: HfApi) -> None:
    commit = loopback.add(REPO, CONTENTS)
    assert pulled(hub_api.snapshot_download(REPO, revision=commit)) == CONTENTS
    assert any("xet-read-token" in asked for asked in loopback.requests) is not constants.HF_HUB_DISABLE_XET


def test_a_second_pull_of_a_commit_asks_nothing(loopback: LoopbackHub, hub_api: HfApi) -> None:
    commit = loopback.add(REPO, CONTENTS)
    first = hub_api.snapshot_download(REPO, revision=commit)
    loopback.requests.clear()
    assert hub_api.snapshot_download(REPO, revision=commit) == first
    assert loopback.requests == []


def test_a_file_that_has_not_changed_makes_no_commit(loopback: LoopbackHub, hub_api: HfApi) -> None:
    commit = loopback.add(REPO, CONTENTS)
    assert push(hub_api, CONTENTS) == commit == loopback.head(REPO)


def test_a_commit_deletes_files_and_folders_beside_what_it_adds(loopback: LoopbackHub, hub_api: HfApi) -> None:
    loopback.add(REPO, CONTENTS)
    operations = [CommitOperationDelete("deep/"), CommitOperationDelete("empty.txt"), CommitOperationAdd("new.txt", b"new")]
    hub_api.create_commit(REPO, operations, commit_message="Tidy up")
    left = {path for path in CONTENTS if not path.startswith("deep/") and path != "empty.txt"}
    assert set(contents_of(loopback)) == left | {"new.txt"}


# git's own


def test_git_finds_nothing_wrong_with_the_store_and_the_commit_ids_are_its_own(
    loopback: LoopbackHub, hub_api: HfApi, tmp_path: Path
) -> None:
    hub_api.create_repo(REPO)
    first, second = push(hub_api, CONTENTS), push(hub_api, {"more.txt": b"more"})
    assert loopback.git(REPO).run("fsck", "--strict", "--full") == b""
    clone = tmp_path / "clone"
    # Without the developer's settings, which may want to fetch what the pointers stand for.
    plain = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "clone", "--quiet", str(loopback.git(REPO).folder), str(clone)], check=True, env=plain)
    log = subprocess.run(["git", "-C", str(clone), "log", "--format=%H"], check=True, capture_output=True, text=True).stdout.split()
    assert log[:2] == [second, first]
    assert [commit.commit_id for commit in hub_api.list_repo_commits(REPO)] == log
    assert {path: (clone / path).read_bytes() for path in SMALL} == SMALL
    assert (clone / "adapter_model.safetensors").read_text().startswith("version https://git-lfs.github.com/spec/v1\n")


def test_branches_tags_and_pull_requests_are_refs_of_git(loopback: LoopbackHub, hub_api: HfApi) -> None:
    first = loopback.add(REPO, SMALL)
    hub_api.create_branch(REPO, branch="try/this")
    hub_api.create_tag(REPO, tag="v1", revision=first, tag_message="The first")
    second = loopback.add(REPO, {"more.txt": b"more"}, branch="try/this")
    made = hub_api.create_commit(REPO, [CommitOperationAdd("a.txt", b"a")], commit_message="Please take", create_pr=True)
    refs = hub_api.list_repo_refs(REPO, include_pull_requests=True)
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": first, "try/this": second}
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1": first}
    assert {ref.ref: ref.target_commit for ref in refs.pull_requests or ()} == {"refs/pr/1": made.oid}
    assert made.pr_revision == "refs/pr/1"
    assert hub_api.hf_hub_download(REPO, "a.txt", revision="refs/pr/1")
    hub_api.delete_tag(REPO, tag="v1")
    hub_api.delete_branch(REPO, branch="try/this")
    assert set(loopback.git(REPO).refs()) == {"refs/heads/main", "refs/pr/1"}


def test_a_branch_a_tag_and_a_commit_resolve_to_a_commit(loopback: LoopbackHub, hub_api: HfApi) -> None:
    first = loopback.add(REPO, SMALL)
    hub_api.create_tag(REPO, tag="v1")
    second = loopback.add(REPO, {"more.txt": b"more"})
    assert hub_api.resolve_revision(REPO).resolved == second
    assert hub_api.resolve_revision(REPO, revision="v1").resolved == first
    loopback.requests.clear()
    assert hub_api.resolve_revision(REPO, revision=first).resolved == first
    assert loopback.requests == []


def test_the_tree_and_single_paths_are_listed_with_their_last_commits(loopback: LoopbackHub, hub_api: HfApi) -> None:
    loopback.add(REPO, CONTENTS, message="All of it")
    loopback.add(REPO, {"README.md": CARD + b"More.\n"}, message="The card")
    tree = {entry.path: entry for entry in hub_api.list_repo_tree(REPO, recursive=True, expand=True)}
    assert set(tree) == {*CONTENTS, ".gitattributes", "deep", "deep/er"}
    titles = {path: tree[path].last_commit["title"] for path in ("README.md", "deep", ".gitattributes")}
    assert titles == {"README.md": "The card", "deep": "All of it", ".gitattributes": "initial commit"}
    assert {entry.path for entry in hub_api.list_repo_tree(REPO, "deep")} == {"deep/er", "deep/other.safetensors"}
    (weights,) = hub_api.get_paths_info(REPO, ["adapter_model.safetensors", "absent"])
    assert (weights.size, weights.lfs["size"]) == (100_000, 100_000)
    assert weights.lfs["sha256"] == hub_api.model_info(REPO, files_metadata=True).siblings[3].lfs["sha256"]


def test_what_git_lets_be_planted_the_client_sees_as_it_is(loopback: LoopbackHub, hub_api: HfApi) -> None:
    loopback.plant_link(REPO, "link", "../../../etc/passwd")
    folder = hub_api.snapshot_download(REPO)
    assert pulled(folder) == {"link": b"../../../etc/passwd"}, "a link comes as a file that names its target"
    loopback.add(REPO, {"../outside": b"x"})
    assert "../outside" in hub_api.list_repo_files(REPO)
    with pytest.raises(ValueError, match=r"\.\."):
        hub_api.snapshot_download(REPO)


# What the Hub says of models


def test_a_model_is_told_of_from_its_card_and_its_files(loopback: LoopbackHub, hub_api: HfApi) -> None:
    commit = loopback.add(REPO, CONTENTS)
    info = hub_api.model_info(REPO)
    assert (info.id, info.author, info.sha, info.private, info.gated, info.disabled) == (REPO, "acme", commit, False, False, False)
    assert info.card_data is not None
    assert info.card_data.license == "mit"
    assert {"soft-prompt", "peft", "base_model:adapter:acme/base", "license:mit", "safetensors"} <= set(info.tags or ())
    assert {sibling.rfilename for sibling in info.siblings or ()} == {*CONTENTS, ".gitattributes"}
    few = hub_api.model_info(REPO, expand=["baseModels", "downloads"])
    assert few.base_models == {"relation": "adapter", "models": [{"id": "acme/base"}]}
    assert few.siblings is None


def test_scans_are_told_of_in_three_states(loopback: LoopbackHub, hub_api: HfApi) -> None:
    loopback.add(REPO, CONTENTS)
    assert hub_api.model_info(REPO).security_repo_status is None
    assert hub_api.model_info(REPO, securityStatus=True).security_repo_status == {"scansDone": True, "filesWithIssues": []}
    loopback.set(REPO, scans_done=False)
    assert hub_api.model_info(REPO, securityStatus=True).security_repo_status == {"scansDone": False, "filesWithIssues": []}
    loopback.set(REPO, scans_done=True, flagged={"adapter_config.json": "unsafe"})
    flagged = hub_api.model_info(REPO, securityStatus=True).security_repo_status
    assert flagged == {"scansDone": True, "filesWithIssues": [{"path": "adapter_config.json", "level": "unsafe"}]}
    statuses = {entry.path: entry.security["status"] for entry in hub_api.list_repo_tree(REPO, expand=True) if hasattr(entry, "security")}
    assert (statuses["adapter_config.json"], statuses["README.md"]) == ("unsafe", "safe")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"filter": "peft"}, {"acme/router", "zeta/mood"}),
        ({"filter": ["peft", "base_model:adapter:acme/base"]}, {"acme/router"}),
        ({"search": "MOO"}, {"zeta/mood"}),
        ({"author": "acme"}, {"acme/router", "acme/base"}),
        ({"author": "acme", "filter": "peft"}, {"acme/router"}),
        ({"gated": True}, {"zeta/mood"}),
        ({"filter": "nothing"}, set()),
    ],
)
def test_models_are_found_by_tag_name_and_author(loopback: LoopbackHub, hub_api: HfApi, asked: dict[str, Any], found: set[str]) -> None:
    loopback.add(REPO, CONTENTS)
    loopback.add("acme/base", {"config.json": b"{}"})
    loopback.add("zeta/mood", {"README.md": b"---\nlibrary_name: peft\nbase_model: other/base\n---\n"})
    loopback.set("zeta/mood", gated="auto")
    assert {model.id for model in hub_api.list_models(**asked)} == found


def test_models_are_listed_in_order_and_page_by_page(loopback: LoopbackHub, hub_api: HfApi) -> None:
    for downloads, name in enumerate(("a/few", "a/some", "a/most")):
        loopback.add(name, {"README.md": CARD})
        loopback.set(name, downloads=downloads)
    listed = list(hub_api.list_models(sort="downloads", limit=2, full=True))
    assert [(model.id, model.sha) for model in listed] == [("a/most", loopback.head("a/most")), ("a/some", loopback.head("a/some"))]
    loopback.add("a/few", {"more.txt": b"more"})
    assert next(iter(hub_api.list_models(sort="last_modified"))).id == "a/few"


def test_a_private_model_is_there_for_those_who_are_admitted(loopback: LoopbackHub, hub_api: HfApi) -> None:
    hub_api.create_repo(REPO, private=True)
    loopback.users["hf_other"] = "other"
    other = HfApi(endpoint=loopback.url, token="hf_other")
    assert other.repo_exists(REPO)
    loopback.set(REPO, admitted=frozenset({USER}))
    assert (hub_api.repo_exists(REPO), other.repo_exists(REPO)) == (True, False)
    assert ([model.id for model in hub_api.list_models()], list(other.list_models())) == ([REPO], [])


def test_a_repository_is_made_once_and_can_be_deleted(loopback: LoopbackHub, hub_api: HfApi) -> None:
    assert hub_api.whoami()["name"] == USER
    assert hub_api.create_repo("router").repo_id == f"{USER}/router"
    assert hub_api.create_repo(f"{USER}/router", exist_ok=True) == f"{loopback.url}/{USER}/router"
    hub_api.delete_repo(f"{USER}/router")
    assert not hub_api.repo_exists(f"{USER}/router")


# Apart from everything else


def test_the_cache_is_the_tests_own(loopback: LoopbackHub, hub_api: HfApi, hub_cache: Path) -> None:
    loopback.add(REPO, {"adapter_model.safetensors": noise(100_000)})
    folder = Path(hub_api.snapshot_download(REPO))
    assert [repo.repo_id for repo in scan_cache_dir().repos] == [REPO]
    assert (folder / "adapter_model.safetensors").resolve().is_relative_to(hub_cache), "the blobs that repositories share as well"


def test_a_client_that_is_told_of_no_endpoint_can_be_pointed_at_the_hub(default_hub: LoopbackHub) -> None:
    default_hub.add(REPO, CONTENTS)
    assert pulled(snapshot_download(REPO, token=TOKEN)) == CONTENTS
