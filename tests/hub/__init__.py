"""A small Hugging Face Hub of our own, for tests: the real client talks to it, and nothing leaves the machine.

    with LoopbackHub(tmp_path) as hub:
        commit = hub.add("org/name", {"config.json": b"{}"})
        api = HfApi(endpoint=hub.url, token=TOKEN)
        api.snapshot_download("org/name", cache_dir=tmp_path / "cache")

Each repository is a bare git repository, so ids, trees and history are git's. Large files come and go by Xet, whose client
keeps its chunks in a folder of the Hub's, or by LFS where Xet is disabled.

For a test's hands: `add`, `plant_link`, `head`, `files` and `git` go straight to the store; `set` changes what the Hub says of
a repository (private, gated, disabled, scans); `requests` has what was asked. What can go wrong is in `faults`: `fail`, `cut`,
`corrupt`, `hold`, `before`; `spoil_xet` and `down` are of the kind. The fixtures are in `fixtures`: `loopback` (the Hub),
`hub_api` (a client of it), `hub_cache`, `default_hub`.

It is no proof of what the live Hub does: of its quotas, its checks of model cards, its scanners, its content network.
"""

from tests.hub.faults import Hold
from tests.hub.server import TOKEN, USER, LoopbackHub

__all__ = ["TOKEN", "USER", "Hold", "LoopbackHub"]
