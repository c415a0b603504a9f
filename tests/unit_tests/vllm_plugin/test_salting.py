"""Salts are a secret of one server, the same in all its processes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from langchain_softprompt.vllm_plugin.salting import Salts


def _config(engine_id: str = "one", **extra: Any) -> SimpleNamespace:
    return SimpleNamespace(engine_id=engine_id, get_from_extra_config=extra.get)


def test_a_file_gives_the_same_salts_to_everybody_who_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "salt"
    file.write_text("0123456789abcdef\n")
    first, second = (Salts.of(_config(name, salt_file=str(file))) for name in ("one", "two"))
    assert first.salt("ab") == second.salt("ab") != first.salt("cd")


def test_without_a_file_each_server_has_salts_of_its_own_that_its_copies_share() -> None:
    one, copy, other = (Salts.of(_config(name)).salt("ab") for name in ("one", "one_dp3", "other"))
    assert one == copy != other


def test_a_file_that_keeps_no_secret_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "salt"
    file.write_text("short\n")
    with pytest.raises(ValueError, match="at least 16"):
        Salts.of(_config(salt_file=str(file)))
