"""``serve-command`` prints a line that says all a server needs for the soft prompts that were named, and nothing else."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from typer.testing import CliRunner

from langchain_softprompt.cli.app import app
from langchain_softprompt.errors import SoftPromptError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.serving import TARGETS
from langchain_softprompt.serving.chat_template import with_soft_prompt_branch
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import save_tiny_model
from tests.unit_tests.inspection.looking import random_rows
from tests.unit_tests.soft_prompt.peft_folders import frozen, save_with_peft


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def folder(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two soft prompts for the model: ``rows`` of embeddings and ``keys`` and values."""
    monkeypatch.chdir(tmp_path)
    loaded = FrozenModel.load(model, dtype="float32", device="cpu")
    random_rows(loaded).save(tmp_path / "rows")
    heads, dim, _ = loaded.key_value_shapes[0]
    SoftPrompt.of_key_values(torch.randn(4, loaded.num_layers, 2, heads, dim)).save(tmp_path / "keys")
    return tmp_path


def _run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["serve-command", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def _told(model: Path, *arguments: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(_run(*arguments, "--model", str(model), "--json"))
    return told


def _flag(told: dict[str, Any], name: str) -> str:
    arguments: list[str] = told["arguments"]
    return arguments[arguments.index(name) + 1]


def test_the_line_can_be_pasted_into_a_shell_and_says_what_the_json_says(folder: Path, model: Path) -> None:
    told = _told(model, "rows", "keys", "--folder", "ser ved")
    words = shlex.split(_run("rows", "keys", "--model", str(model), "--folder", "ser ved").replace("\\\n", " "))
    variables = [f"{name}={value}" for name, value in told["environment"].items()]
    assert words == [*variables, *told["arguments"]]
    assert "VLLM_PLUGINS=langchain_softprompt" in variables


def test_rows_need_embeddings_and_the_template_and_keys_and_values_need_the_connector(folder: Path, model: Path) -> None:
    rows, keys, bare = (_told(model, *given)["arguments"] for given in (["rows"], ["keys"], []))
    for arguments, embeddings, connector in ((rows, True, False), (keys, False, True), (bare, False, False)):
        assert ("--enable-prompt-embeds" in arguments) == ("--chat-template" in arguments) == embeddings
        assert ("--kv-transfer-config" in arguments) == connector


def test_the_connector_is_told_the_folder_that_was_written(folder: Path, model: Path) -> None:
    told = _told(model, "keys", "--folder", "served")
    config = json.loads(_flag(told, "--kv-transfer-config"))
    (served,) = config["kv_connector_extra_config"]["soft_prompts"]
    assert Path(served) == folder / "served" / "soft_prompts"
    assert SoftPrompt.load(Path(served) / "keys").content_hash == told["soft_prompts"][0]["content_hash"]


def test_two_soft_prompts_of_one_name_get_folders_of_their_own_and_the_same_one_is_taken_once(folder: Path, model: Path) -> None:
    other = folder / "other" / "keys"
    SoftPrompt.of_key_values(SoftPrompt.load(folder / "keys").key_values() * 2).save(other)  # type: ignore[operator]
    told = _told(model, "keys", "other/keys", "keys")
    names = [one["name"] for one in told["soft_prompts"]]
    assert len(set(names)) == len(names) == 2


def test_a_soft_prompt_of_another_model_is_refused_before_anything_is_written(folder: Path, model: Path) -> None:
    save_with_peft(folder / "foreign", "PREFIX_TUNING", frozen("llama"))
    with pytest.raises(SoftPromptError, match="does not fit"):
        _run("foreign", "--model", str(model), "--folder", "served")
    assert not (folder / "served").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-model-len", "4"], "no room"),
        (["--dtype", "int4"], "dtype"),
        (["--gpus", "0"], "gpus"),
        (["--copies", "3", "--nodes", "2"], "evenly"),
        (["--for", "moon"], "target"),
        (["--copies", "2", "--nodes", "2"], "starts one server"),
    ],
)
def test_what_can_not_be_served_is_one_plain_sentence(arguments: list[str], words: str, folder: Path, model: Path) -> None:
    with pytest.raises(SoftPromptError, match=words):
        _run("keys", "--model", str(model), *arguments)


def test_the_secret_of_cache_salts_is_made_once_and_readable_by_its_owner_alone(folder: Path, model: Path) -> None:
    config = [json.loads(_flag(_told(model, "keys"), "--kv-transfer-config"))["kv_connector_extra_config"] for _ in range(2)]
    assert config[0] == config[1]
    file = Path(config[0]["salt_file"])
    assert len(file.read_text("ascii")) > 32
    assert file.stat().st_mode & 0o077 == 0


def test_one_server_a_node_has_its_share_of_the_copies(folder: Path, model: Path) -> None:
    text = _run("keys", "--model", str(model), "--for", "nodes", "--copies", "4", "--nodes", "2")
    assert "--data-parallel-size 2" in text


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_the_flags_of_the_line(target: str, folder: Path, model: Path) -> None:
    several = ["--copies", "2", "--nodes", "2"] if target in ("nodes", "data-parallel", "ray") else []
    text = _run("rows", "keys", "--model", str(model), "--for", target, *several)
    for flag in ("--enable-prompt-embeds", "--kv-transfer-config", "--generation-config", "SoftPromptConnector"):
        assert flag in text
    assert "langchain_softprompt" in text


def test_the_manifest_for_kubernetes_is_yaml_whose_command_is_the_line(folder: Path, model: Path) -> None:
    yaml = pytest.importorskip("yaml")
    documents = list(yaml.safe_load_all(_run("keys", "--model", str(model), "--for", "kubernetes")))
    assert [one["kind"] for one in documents] == ["Service", "StatefulSet"]
    (container,) = documents[1]["spec"]["template"]["spec"]["containers"]
    words = shlex.split(container["args"][0])
    config = json.loads(words[words.index("--kv-transfer-config") + 1])
    assert config["kv_connector_extra_config"]["soft_prompts"] == ["/srv/soft-prompts/soft_prompts"]


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_sets_all_variables_of_the_line(target: str, folder: Path, model: Path) -> None:
    given = ["keys", "--cpu-cache-gib", "3"]
    text = _run(*given, "--model", str(model), "--for", target)
    for name in _told(model, *given)["environment"]:
        assert name in text


def _rendered(template: str, messages: list[dict[str, Any]]) -> str:
    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(template).render(messages=messages)


_OWN = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}"


@pytest.mark.parametrize("content", ["PLACEHOLDER", [{"type": "text", "text": "PLACEHOLDER"}]])
def test_where_a_soft_prompt_comes_first_the_chat_is_printed_as_it_comes(content: Any) -> None:
    text = "<|im_start|>user\n {{ no_template }} \n\n<|im_end|>\n"
    rest = text if isinstance(content, str) else [{"type": "text", "text": text}]
    messages = [{"role": "soft_prompt", "content": content}, {"role": "user", "content": rest}]
    assert _rendered(with_soft_prompt_branch(_OWN), messages) == "PLACEHOLDER" + text


def test_every_other_chat_is_rendered_as_the_models_own_template_does() -> None:
    messages = [{"role": "user", "content": " a "}, {"role": "assistant", "content": "b"}]
    assert _rendered(with_soft_prompt_branch(_OWN), messages) == _rendered(_OWN, messages)
    assert _rendered(with_soft_prompt_branch(_OWN), []) == _rendered(_OWN, [])
