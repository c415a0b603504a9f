"""What all contenders serve: one model folder and the same soft prompts, made from a seed in a temporary folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PromptTuningConfig
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer

from benchmarks.texts import Texts, one_token_words

# Tokens that no chat ever contains. One of them is made the end-of-answer token, so that nobody's answer ends early and all
# contenders make the same number of tokens.
_UNUSED_TOKENS = ("<jupyter_script>", "<empty_output>", "<reponame>")
_EMBEDDINGS = "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class Material:
    """What the contenders are given.

    Attributes:
        model: The model's folder.
        soft_prompts: Name and PEFT folder of each soft prompt.
        weight_bytes: Size of the weights on disk.
    """

    model: Path
    soft_prompts: dict[str, str]
    weight_bytes: int


def make_material(source: Path, work: Path, *, soft_prompts: int, virtual_tokens: int = 20, seed: int = 0) -> Material:
    """Lay everything out under `work`."""
    model = work / "model"
    _model_folder(source, model)
    folders = _soft_prompts(model, work / "soft_prompts", soft_prompts, virtual_tokens, seed)
    weights = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    return Material(model, folders, weights)


def make_texts(model: Path, seed: int) -> Texts:
    """Texts out of this model's own one-token words."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return Texts(one_token_words(list(tokenizer.get_vocab()), count), seed)


def _model_folder(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for file in source.iterdir():
        (target / file.name).symlink_to(file)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    end = next(token for token in _UNUSED_TOKENS if tokenizer.token_to_id(token) is not None)
    for name in ("config.json", "generation_config.json"):
        _rewrite(target / name, eos_token_id=tokenizer.token_to_id(end))
    _rewrite(target / "tokenizer_config.json", eos_token=end)


def _rewrite(file: Path, **changes: object) -> None:
    if not file.exists():
        return
    data = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()  # the link, not what it leads to
    file.write_text(json.dumps({**data, **changes}, indent=2), encoding="utf-8")


def _soft_prompts(model: Path, work: Path, count: int, virtual_tokens: int, seed: int) -> dict[str, str]:
    """Prompt tuning: rows of real token embeddings with noise, as after some training."""
    embeddings = _embeddings(model)
    draw = torch.Generator().manual_seed(seed)
    config = PromptTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=virtual_tokens,
        token_dim=embeddings.shape[1],
        base_model_name_or_path=str(model),
        inference_mode=True,
    )
    folders = {}
    for number in range(count):
        name = f"soft-{number:04d}"
        rows = embeddings[torch.randint(embeddings.shape[0], (virtual_tokens,), generator=draw)]
        noise = torch.randn(rows.shape, generator=draw) * rows.std() * 0.3
        (work / name).mkdir(parents=True)
        config.save_pretrained(str(work / name))
        save_file({"prompt_embeddings": (rows + noise).contiguous()}, str(work / name / "adapter_model.safetensors"))
        folders[name] = str(work / name)
    return folders


def _embeddings(model: Path) -> torch.Tensor:
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(str(file), "pt") as tensors:
            if _EMBEDDINGS in tensors.keys():  # noqa: SIM118 - not a dictionary
                rows: torch.Tensor = tensors.get_tensor(_EMBEDDINGS)
                return rows.float()
    msg = f"No {_EMBEDDINGS} in the safetensors files of the model."
    raise ValueError(msg)
