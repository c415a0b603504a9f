"""What holds for every test: the package's own and the examples in the README and the docs."""

from __future__ import annotations

import os

# Before torch or huggingface_hub is imported: nothing here goes to the network, and a test's speed doesn't hang on the
# number of cores (several OpenMP threads on a busy machine are slower than one).
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.doc_examples import ROOT, documents

pytest_collect_file = documents.pytest()

# Examples of these pages talk to a server on this machine's own address.
_TALKING = {ROOT / "docs" / "vllm.md"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Open sockets to this machine alone, and only where an example needs them."""
    for item in items:
        if item.path in _TALKING:
            item.add_marker(pytest.mark.allow_hosts(["127.0.0.1"]))
