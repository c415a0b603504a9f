"""What holds for every test: the package's own and the examples in the README and the docs."""

from __future__ import annotations

import os

# Before torch or huggingface_hub is imported: nothing here goes to the network, and a test's speed doesn't hang on the
# number of cores (several OpenMP threads on a busy machine are slower than one).
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.doc_examples import documents

pytest_collect_file = documents.pytest()
