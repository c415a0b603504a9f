"""Our own small Hub when something goes wrong: each fault is what the real client takes it for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

from tests.hub import LoopbackHub
from tests.unit_tests.hub.clients import CONTENTS, REPO, SMALL, by_xet, noise, pulled, push, start

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ("tests.hub.fixtures",)

WEIGHTS = "adapter_model.safetensors"


# Refusals


def nobody(hub: LoopbackHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=False)


@pytest.mark.parametrize(
    ("standing", "act", "error", "status"),
    [
        ({}, lambda api: api.model_info("acme/absent"), RepositoryNotFoundError, 404),
        ({}, lambda api: api.snapshot_download("acme/absent"), RepositoryNotFoundError, 404),
        ({"private": True, "admitted": frozenset()}, lambda api: api.snapshot_download(REPO), RepositoryNotFoundError, 404),
        ({"gated": "manual", "admitted": frozenset()}, lambda api: api.snapshot_download(REPO), GatedRepoError, 403),
        ({"gated": "auto", "admitted": frozenset()}, lambda api: api.hf_hub_download(REPO, WEIGHTS), GatedRepoError, 403),
        ({"disabled": True}, lambda api: api.model_info(REPO), DisabledRepoError, 403),
        ({}, lambda api: api.snapshot_download(REPO, revision="absent"), RevisionNotFoundError, 404),
        ({}, lambda api: api.resolve_revision(REPO, revision="absent"), RevisionNotFoundError, 404),
        ({}, lambda api: api.hf_hub_download(REPO, "absent.txt"), RemoteEntryNotFoundError, 404),
        ({}, lambda api: api.create_repo(REPO), HfHubHTTPError, 409),
        ({}, lambda api: [api.create_tag(REPO, tag="v1"), api.create_tag(REPO, tag="v1")], HfHubHTTPError, 409),
        ({}, lambda api: push(api, {"a.txt": b"a"}, revision="absent"), RevisionNotFoundError, 404),
        ({}, lambda api: api.delete_file("absent.txt", REPO), RemoteEntryNotFoundError, 404),
    ],
)
def test_each_refusal_is_an_error_of_its_own_to_the_client(
    loopback: LoopbackHub,
    hub_api: HfApi,
    standing: dict[str, object],
    act: Callable[[HfApi], object],
    error: type[HfHubHTTPError],
    status: int,
) -> None:
    loopback.add(REPO, CONTENTS)
    loopback.set(REPO, **standing)
    with pytest.raises(error) as caught:
        act(hub_api)
    assert (type(caught.value), caught.value.response.status_code) == (error, status)


def test_without_a_token_one_sees_what_is_public_and_writes_nothing(loopback: LoopbackHub, tmp_path: Path) -> None:
    loopback.add(REPO, SMALL)
    assert pulled(nobody(loopback).snapshot_download(REPO)) == SMALL
    with pytest.raises(HfHubHTTPError, match="Invalid username or password"):
        push(nobody(loopback), {"a.txt": b"a"})
    loopback.set(REPO, gated="auto")
    with pytest.raises(GatedRepoError, match="401"):
        nobody(loopback).hf_hub_download(REPO, "README.md", cache_dir=tmp_path / "empty")
    loopback.set(REPO, private=True)
    with pytest.raises(RepositoryNotFoundError, match="401"):
        nobody(loopback).model_info(REPO)
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        HfApi(endpoint=loopback.url, token="hf_unknown").model_info(REPO)


def test_a_gated_repository_is_listed_for_everyone_and_pulled_by_those_admitted(loopback: LoopbackHub, hub_api: HfApi) -> None:
    loopback.add(REPO, SMALL)
    loopback.set(REPO, gated="manual")
    assert nobody(loopback).model_info(REPO).gated == "manual"
    assert set(nobody(loopback).list_repo_files(REPO)) == {*SMALL, ".gitattributes"}
    assert pulled(hub_api.snapshot_download(REPO)) == SMALL


def test_too_many_requests_are_told_with_the_wait(loopback: LoopbackHub, hub_api: HfApi) -> None:
    loopback.add(REPO, SMALL)
    loopback.fail(f"GET /api/models/{REPO}*", status=429, headers={"RateLimit": '"api";r=0;t=7'})
    with pytest.raises(HfHubHTTPError, match="Retry after 7 seconds") as caught:
        hub_api.model_info(REPO)
    assert caught.value.response.status_code == 429
    with pytest.raises(LocalEntryNotFoundError, match="rate limit"):
        hub_api.snapshot_download(REPO)


def test_a_server_error_before_the_first_answer_is_tried_again_at_once(loopback: LoopbackHub, hub_api: HfApi) -> None:
    loopback.add(REPO, SMALL)
    loopback.fail("HEAD */README.md", status=503, times=1)
    assert Path(hub_api.hf_hub_download(REPO, "README.md")).read_bytes() == SMALL["README.md"]
    assert [asked.split()[0] for asked in loopback.requests] == ["HEAD", "HEAD", "GET"]


# Pushes that must not come through


def test_a_moved_head_answers_412_and_nothing_is_published(loopback: LoopbackHub, hub_api: HfApi) -> None:
    before = loopback.add(REPO, SMALL)
    now = loopback.add(REPO, {"theirs.txt": b"theirs"})
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as caught:
        push(hub_api, {"ours.txt": b"ours", WEIGHTS: noise(100_000)}, parent_commit=before)
    assert caught.value.response.status_code == 412
    assert loopback.head(REPO) == now
    assert not {"ours.txt", WEIGHTS} & set(loopback.files(REPO))


def test_a_head_that_moves_while_the_push_is_on_its_way_answers_412(loopback: LoopbackHub, hub_api: HfApi) -> None:
    before = loopback.add(REPO, SMALL)
    loopback.before("POST */commit/main", lambda: loopback.add(REPO, {"theirs.txt": b"theirs"}))
    with pytest.raises(HfHubHTTPError, match="412"):
        push(hub_api, {"ours.txt": b"ours"}, parent_commit=before)
    assert "ours.txt" not in loopback.files(REPO)


def test_one_bad_operation_keeps_the_whole_commit_out(loopback: LoopbackHub, hub_api: HfApi) -> None:
    commit = loopback.add(REPO, SMALL)
    operations = [CommitOperationAdd("a.txt", b"a"), CommitOperationDelete("absent.txt")]
    with pytest.raises(RemoteEntryNotFoundError, match="A file with this name doesn't exist"):
        hub_api.create_commit(REPO, operations, commit_message="Half of it")
    assert loopback.head(REPO) == commit


def test_a_card_that_is_no_yaml_is_refused_before_anything_is_sent(loopback: LoopbackHub, hub_api: HfApi) -> None:
    hub_api.create_repo(REPO)
    loopback.requests.clear()
    with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
        push(hub_api, {"README.md": b"---\ntags: [\n---\n"})
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        push(hub_api, {"README.md": b"# Router\n"})
    assert loopback.requests[:2] == ["POST /api/validate-yaml", "POST /api/validate-yaml"]


# Downloads that go wrong


def test_a_download_that_was_cut_goes_on_where_it_was(loopback: LoopbackHub, hub_api: HfApi) -> None:
    loopback.add(REPO, CONTENTS)
    loopback.offers_xet = False
    loopback.cut(f"GET */{WEIGHTS}", after_bytes=60_000)
    assert Path(hub_api.hf_hub_download(REPO, WEIGHTS)).read_bytes() == CONTENTS[WEIGHTS]
    assert [asked.split()[0] for asked in loopback.requests] == ["HEAD", "GET", "GET"]


def test_the_client_takes_wrong_bytes_of_the_right_length_until_it_is_told_to_verify(loopback: LoopbackHub, hub_api: HfApi) -> None:
    loopback.add(REPO, CONTENTS)
    loopback.offers_xet = False
    loopback.corrupt(f"GET */{WEIGHTS}")
    folder = hub_api.snapshot_download(REPO)
    assert pulled(folder)[WEIGHTS] == bytes(255 - byte for byte in CONTENTS[WEIGHTS])
    assert [mismatch["path"] for mismatch in hub_api.verify_repo_checksums(REPO).mismatches] == [WEIGHTS]


@by_xet
def test_the_client_notices_that_what_xet_has_stored_is_spoilt(loopback: LoopbackHub, hub_api: HfApi) -> None:
    loopback.add(REPO, CONTENTS)
    loopback.spoil_xet()
    with pytest.raises(RuntimeError, match=r"Xet|CAS|reconstruction"):
        hub_api.hf_hub_download(REPO, WEIGHTS)


def test_a_head_that_moves_during_a_pull_does_not_mix_two_commits(loopback: LoopbackHub, hub_api: HfApi) -> None:
    commit = loopback.add(REPO, CONTENTS)
    loopback.before("GET */tree/*", lambda: loopback.add(REPO, dict.fromkeys(CONTENTS, b"newer")))
    folder = Path(hub_api.snapshot_download(REPO))
    assert (folder.name, pulled(folder)) == (commit, CONTENTS)
    assert loopback.head(REPO) != commit


@pytest.mark.parametrize("held", ["GET */resolve/*/README.md", "GET */tree/*"])
def test_a_client_killed_in_the_middle_leaves_nothing_that_the_next_takes_for_whole(
    loopback: LoopbackHub, hub_api: HfApi, tmp_path: Path, held: str
) -> None:
    loopback.add(REPO, CONTENTS)
    with loopback.hold(held) as hold:
        process = start("api.snapshot_download(arguments[0])", loopback, tmp_path / "home", REPO)
        hold.wait_until_reached(60)
        process.kill()
        process.communicate()
    assert pulled(hub_api.snapshot_download(REPO, cache_dir=tmp_path / "home" / "hub")) == CONTENTS


def test_what_is_cached_outlasts_a_hub_that_is_down(loopback: LoopbackHub, hub_api: HfApi) -> None:
    loopback.add(REPO, SMALL)
    folder = hub_api.snapshot_download(REPO)
    loopback.down()
    assert hub_api.snapshot_download(REPO) == folder
    with pytest.raises(LocalEntryNotFoundError, match="Connection refused"):
        hub_api.snapshot_download("acme/other")
    with pytest.raises(RevisionResolutionError, match="could not be reached"):
        hub_api.resolve_revision("acme/other")
    loopback.up()
    assert hub_api.model_info(REPO).sha == loopback.head(REPO)


# Faults of our own


def test_a_mistake_in_the_hub_or_in_a_callback_fails_the_test_that_it_happened_in(
    tmp_path: Path, hub_cache: Path, socket_enabled: None
) -> None:
    def fall_over() -> None:
        raise ZeroDivisionError

    def look_at(hub: LoopbackHub) -> None:
        with hub, pytest.raises(HfHubHTTPError, match="501"):
            nobody(hub).model_info(REPO)

    hub = LoopbackHub(tmp_path / "own")
    hub.before("*", fall_over)
    with pytest.raises(AssertionError, match=r"(?s)made a mistake.*GET /api/models/acme/router.*ZeroDivisionError"):
        look_at(hub)


def test_what_the_hub_cannot_do_it_says(loopback: LoopbackHub, hub_api: HfApi) -> None:
    loopback.add(REPO, SMALL)
    with pytest.raises(HfHubHTTPError, match=f"can't answer PUT /api/models/{REPO}/settings"):
        hub_api.update_repo_settings(REPO, private=True)
    with pytest.raises(HfHubHTTPError, match="models only"):
        hub_api.create_repo("acme/data", repo_type="dataset")


def test_a_fault_happens_as_often_as_asked_and_to_what_matches(loopback: LoopbackHub, hub_api: HfApi) -> None:
    loopback.add(REPO, SMALL)
    loopback.fail(f"/api/models/{REPO}", status=418, times=2)
    loopback.fail("POST *", status=418)
    for _ in range(2):
        with pytest.raises(HfHubHTTPError, match="418"):
            hub_api.model_info(REPO)
    assert hub_api.model_info(REPO).id == REPO
    with pytest.raises(HfHubHTTPError, match="418"):
        hub_api.create_repo("acme/new")
    loopback.heal()
    assert hub_api.create_repo("acme/new").repo_id == "acme/new"
