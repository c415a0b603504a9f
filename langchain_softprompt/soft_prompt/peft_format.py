"""PEFT's ``adapter_config.json``: which types are static prefixes, which fields count, which tensors belong to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from langchain_softprompt.errors import InvalidSoftPromptError, UnsafeFileError, UnsupportedSoftPromptError
from langchain_softprompt.hub.local import CONFIG_FILE
from langchain_softprompt.printable import shown
from langchain_softprompt.soft_prompt.manifest import invalid_field

if TYPE_CHECKING:
    from peft import PeftConfig

MAX_VIRTUAL_TOKENS = 16_384
_REASONS = {
    "ADAPTION_PROMPT": "it is gated inside each layer",
    "LORA": "it changes weights",
    "IA3": "it changes activations",
    "TRAINABLE_TOKENS": "it changes vocabulary rows",
}

EMBEDDINGS = "prompt_embeddings"
TASK_COLUMNS = "prefix_task_cols"
TASK_ROWS = "prefix_task_rows"


def _plain_name(value: str) -> str:
    """Names of models and tokenizers are never opened here, but they are written back for others to open."""
    if any(ord(character) < 32 for character in value) or ".." in value.replace("\\", "/").split("/"):
        msg = "Input should be a name or path without '..' and control characters"
        raise ValueError(msg)
    return value


_Name = Annotated[str, Field(max_length=1024), AfterValidator(_plain_name)]
_Size = Annotated[int, Field(ge=1, le=1 << 20)]
_TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=1 << 31)]], Field(min_length=1, max_length=MAX_VIRTUAL_TOKENS)]
_Float = Annotated[float, Field(allow_inf_nan=False)]


class AdapterConfig(BaseModel):
    """The fields of ``adapter_config.json`` that every static prefix has; sizes as PEFT names them."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")
    holds_key_values: ClassVar[bool] = False

    peft_type: str
    task_type: Literal["CAUSAL_LM"]
    base_model_name_or_path: _Name | None = None
    revision: _Name | None = None
    num_virtual_tokens: Annotated[int, Field(ge=1, le=MAX_VIRTUAL_TOKENS)]
    token_dim: _Size | None = None
    num_layers: Annotated[int, Field(ge=1, le=4096)] | None = None
    num_attention_heads: Annotated[int, Field(ge=1, le=65_536)] | None = None
    num_transformer_submodules: Literal[1] | None = None

    def tensor_shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Expected tensors; ``None`` is a size the configuration leaves open."""
        return {EMBEDDINGS: (self.num_virtual_tokens, self.token_dim)}

    def for_peft(self) -> PeftConfig:
        """The same as PEFT's own configuration object, for writing; nothing that PEFT would go and read is in it."""
        from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftType

        fields = {**self.model_dump(exclude={"peft_type"}), "num_transformer_submodules": 1, "inference_mode": True}
        config = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(self.peft_type)](**fields)
        # Some of PEFT's classes (CPT) blank these on creation.
        for name in ("num_virtual_tokens", "token_dim", "num_layers", "num_attention_heads"):
            setattr(config, name, getattr(self, name))
        return config


class PromptTuning(AdapterConfig):
    """Prompt tuning (Lester et al. 2021, arXiv:2104.08691): rows of embeddings."""

    prompt_tuning_init: Literal["RANDOM", "SAMPLE_VOCAB", "TEXT"] | None = "RANDOM"
    prompt_tuning_init_text: Annotated[str, Field(max_length=1 << 20)] | None = None
    tokenizer_name_or_path: _Name | None = None

    def for_peft(self) -> PeftConfig:
        """As written, except that a text initialisation without its text or tokenizer counts as random."""
        whole = self.prompt_tuning_init_text and self.tokenizer_name_or_path
        init = self.prompt_tuning_init if self.prompt_tuning_init != "TEXT" or whole else "RANDOM"
        return super(PromptTuning, self.model_copy(update={"prompt_tuning_init": init or "RANDOM"})).for_peft()


class PTuning(AdapterConfig):
    """P-tuning (Liu et al. 2021, arXiv:2103.10385): rows of embeddings, the encoder already applied."""

    encoder_reparameterization_type: Literal["MLP", "LSTM"] = "MLP"
    encoder_hidden_size: _Size | None = None
    encoder_num_layers: Annotated[int, Field(ge=1, le=64)] = 2
    encoder_dropout: _Float = 0.0


class ContextAwarePromptTuning(AdapterConfig):
    """CPT (Blau et al. 2024, arXiv:2410.17222): rows of embeddings, token embeddings plus learned change."""

    cpt_token_ids: _TokenIds | None = None
    cpt_mask: list[int] | None = None
    cpt_tokens_type_mask: list[int] | None = None

    def for_peft(self) -> PeftConfig:
        """PEFT takes the length from the token ids, so stand-ins are written where they are absent."""
        length = self.num_virtual_tokens
        filled = {name: value or [1] * length for name, value in self.model_dump(include=set(_CPT_LISTS)).items()}
        return super(ContextAwarePromptTuning, self.model_copy(update=filled)).for_peft()


class MultitaskPromptTuning(AdapterConfig):
    """Multitask prompt tuning (Wang et al. 2023, arXiv:2303.02861): shared rows times a low-rank matrix a task."""

    num_tasks: Annotated[int, Field(ge=1, le=65_536)]
    num_ranks: Annotated[int, Field(ge=1, le=65_536)]

    def tensor_shapes(self) -> dict[str, tuple[int | None, ...]]:
        """The shared rows and, for each task, the two factors of its matrix."""
        return {
            EMBEDDINGS: (self.num_virtual_tokens, self.token_dim),
            TASK_COLUMNS: (self.num_tasks, self.num_virtual_tokens, self.num_ranks),
            TASK_ROWS: (self.num_tasks, self.num_ranks, self.token_dim),
        }


class PrefixTuning(AdapterConfig):
    """Prefix tuning (Li and Liang 2021, arXiv:2101.00190): keys and values, the projection already applied.

    ``token_dim`` and ``num_attention_heads`` are those of keys and values, not of queries.
    """

    holds_key_values: ClassVar[bool] = True
    token_dim: _Size
    num_layers: Annotated[int, Field(ge=1, le=4096)]
    num_attention_heads: Annotated[int, Field(ge=1, le=65_536)]
    prefix_projection: bool = False
    encoder_hidden_size: _Size | None = None

    def tensor_shapes(self) -> dict[str, tuple[int | None, ...]]:
        """One row a virtual token: for each layer its key, then its value."""
        return {EMBEDDINGS: (self.num_virtual_tokens, self.num_layers * 2 * self.token_dim)}


class Cartridge(PrefixTuning):
    """Cartridge (Eyuboglu et al. 2025, arXiv:2506.06266): keys and values as they are."""

    prefix_projection: bool = Field(default=False, exclude=True)
    encoder_hidden_size: _Size | None = Field(default=None, exclude=True)
    num_frozen_tokens: Annotated[int, Field(ge=0, le=MAX_VIRTUAL_TOKENS)] = 1

    def for_peft(self) -> PeftConfig:
        """PEFT refuses more frozen tokens than there are."""
        frozen = min(self.num_frozen_tokens, self.num_virtual_tokens)
        return super(Cartridge, self.model_copy(update={"num_frozen_tokens": frozen})).for_peft()


_CPT_LISTS = ("cpt_token_ids", "cpt_mask", "cpt_tokens_type_mask")
_BY_TYPE: dict[str, type[AdapterConfig]] = {
    "PROMPT_TUNING": PromptTuning,
    "P_TUNING": PTuning,
    "CPT": ContextAwarePromptTuning,
    "MULTITASK_PROMPT_TUNING": MultitaskPromptTuning,
    "PREFIX_TUNING": PrefixTuning,
    "CARTRIDGE": Cartridge,
}


def read_config(content: dict[str, Any]) -> AdapterConfig:
    """Check the content of ``adapter_config.json``.

    Raises:
        UnsupportedSoftPromptError: A PEFT type that is no static prefix, another task than causal language
            modelling, or trained modules beside the prompt.
        UnsafeFileError: A field names a file outside the folder for a loader to read.
        InvalidSoftPromptError: A field is missing or has the wrong type or size.
    """
    _check_supported(content)
    _check_initial_state_path(content.get("prompt_tuning_init_state_dict_path"))
    try:
        config = _BY_TYPE[content["peft_type"]].model_validate(content)
    except ValidationError as error:
        raise invalid_field(CONFIG_FILE, error) from error
    _check_sizes_agree(config)
    return config


def _check_supported(content: dict[str, Any]) -> None:
    kind = content.get("peft_type")
    known = isinstance(kind, str) and kind in _BY_TYPE
    reason = f"This type can't be served as a static prefix: {_REASONS[kind]}." if isinstance(kind, str) and kind in _REASONS else ""
    checks = (
        ("peft_type", known, f"one of {', '.join(_BY_TYPE)}", reason),
        ("task_type", content.get("task_type") == "CAUSAL_LM", "CAUSAL_LM", ""),
        ("num_transformer_submodules", content.get("num_transformer_submodules") in (None, 1), "1 (a decoder only)", ""),
        ("modules_to_save", not content.get("modules_to_save"), "none", "Trained modules would change the frozen model."),
    )
    for field, holds, expected, hint in checks:
        if not holds:
            raise UnsupportedSoftPromptError(file=CONFIG_FILE, field=field, expected=expected, found=shown(content.get(field)), hint=hint)


def _check_sizes_agree(config: AdapterConfig) -> None:
    if isinstance(config, PrefixTuning) and config.token_dim % config.num_attention_heads:
        expected = f"a multiple of num_attention_heads ({config.num_attention_heads})"
        raise InvalidSoftPromptError(file=CONFIG_FILE, field="token_dim", expected=expected, found=str(config.token_dim))
    if isinstance(config, ContextAwarePromptTuning):
        for name in _CPT_LISTS:
            values = getattr(config, name)
            if values and len(values) != config.num_virtual_tokens:
                expected = f"num_virtual_tokens ({config.num_virtual_tokens}) entries"
                raise InvalidSoftPromptError(file=CONFIG_FILE, field=name, expected=expected, found=f"{len(values)} entries")


def _check_initial_state_path(value: object) -> None:
    """PEFT opens this path when it loads a multitask prompt. We never do, and refuse one that leaves the folder."""
    if value is None:
        return
    parts = value.replace("\\", "/").split("/") if isinstance(value, str) else [""]
    if not isinstance(value, str) or "" in parts[:1] or ".." in parts or ":" in value or value.startswith("~") or "\0" in value:
        raise UnsafeFileError(
            file=CONFIG_FILE,
            field="prompt_tuning_init_state_dict_path",
            expected="null, or a plain path inside the folder",
            found=shown(value),
            hint="It is only needed to start a training; set it to null.",
        )
