"""Manifest: what PEFT's two files don't say about a soft prompt, kept beside them in ``soft_prompt.json``."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from langchain_softprompt.errors import InvalidSoftPromptError
from langchain_softprompt.hub.local import MANIFEST_FILE
from langchain_softprompt.printable import printable, shown
from langchain_softprompt.soft_prompt.template_text import from_mustache

_Text = Annotated[str, Field(max_length=20_000)]
_Short = Annotated[str, Field(max_length=500)]
_Count = Annotated[int, Field(ge=0, lt=1 << 53)]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Mark = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


def _few(value: object) -> object:
    """Counted first: pydantic checks every entry of a mapping before it counts them, and keeps an error for each."""
    if isinstance(value, dict) and len(value) > _MAX_FACTS:
        msg = f"Input should be at most {_MAX_FACTS} entries"
        raise ValueError(msg)
    return value


_MAX_FACTS = 1000
# A stranger's file must not burn time; what is run when a soft prompt is loaded is bounded more tightly still.
MOST_PROBES = 16
MOST_MARKS = 64
MOST_PROBE_TOKENS = 4096
_ROUNDING = 1e-3
_Few = BeforeValidator(_few)
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Nats = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e6)]
_LogProb = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=0)]
_Scalar = bool | int | _Finite | _Short | None


class _Record(BaseModel):
    # Unknown fields are kept out, not refused, so that a newer manifest still loads.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class BaseModelRecord(_Record):
    """The frozen model a soft prompt was made for.

    Attributes:
        id: Its name, as given to `FrozenModel.load`.
        revision: Its commit on the Hub.
        fingerprint: `FrozenModel.fingerprint`, 64 hexadecimal characters.
    """

    id: _Short
    revision: _Short | None = None
    fingerprint: _Hash


class TemplateMessage(_Record):
    """One message of a prompt template, with ``{field}`` places as in a LangChain f-string template.

    A file may say ``"template_format": "mustache"`` beside it: plain ``{{field}}`` places are then read as the f-string
    template that says the same. No other format is read; jinja2 would run a stranger's code.
    """

    role: Literal["system", "human", "ai"]
    template: _Text

    @model_validator(mode="before")
    @classmethod
    def _in_one_format(cls, content: object) -> object:
        if not isinstance(content, dict) or content.get("template_format", "f-string") == "f-string":
            return content
        if content["template_format"] != "mustache":
            msg = f"a template_format of 'f-string' or 'mustache', not {shown(content['template_format'])}"
            raise ValueError(msg)
        template = content.get("template")
        return {**content, "template": from_mustache(template) if isinstance(template, str) else template}


class DataRecord(_Record):
    """The data a soft prompt was trained on.

    Attributes:
        digest: SHA-256 over the training examples as they were used.
        rows: Training rows.
        validation_rows: Rows the best step was chosen on.
        source: Where the data came from.
        licence: Its licence.
        marks: Hashes of a few of the training rows, to notice when it is judged on them; see `row_marks` of the data room.
    """

    digest: _Hash
    rows: _Count
    validation_rows: _Count
    source: _Text = ""
    licence: _Text = ""
    marks: Annotated[list[_Mark], Field(max_length=MOST_MARKS)] = []


class ProbeRecord(_Record):
    """A short text and what the frozen model said to it with this soft prompt when it was made.

    Attributes:
        messages: The chat messages as they were filled in, roles as a chat template knows them.
        token_ids: Their tokens.
        next_ids: The likeliest next tokens, the likeliest first.
        log_probs: Natural logarithm of the probability of each of them.
        effect: How far the bare model's answer is from that, as a divergence in nats: what the soft prompt does.
    """

    messages: Annotated[list[Annotated[dict[_Short, _Text], _Few]], Field(max_length=100)] = []
    token_ids: Annotated[list[_Count], Field(min_length=1, max_length=MOST_PROBE_TOKENS)]
    next_ids: Annotated[list[_Count], Field(min_length=1, max_length=64)]
    log_probs: Annotated[list[_LogProb], Field(min_length=1, max_length=64)]
    effect: _Nats | None = None

    @model_validator(mode="after")
    def _is_a_distribution(self) -> Self:
        if len(set(self.next_ids)) != len(self.log_probs) or len(self.next_ids) != len(self.log_probs):
            msg = f"as many log_probs as different next_ids ({len(set(self.next_ids))})"
            raise ValueError(msg)
        if self.log_probs != sorted(self.log_probs, reverse=True):
            msg = "log_probs from the likeliest token down"
            raise ValueError(msg)
        if math.fsum(map(math.exp, self.log_probs)) > 1 + _ROUNDING:
            msg = "log_probs of probabilities that add up to at most 1"
            raise ValueError(msg)
        return self


class ProbesRecord(_Record):
    """Probes, and where they were recorded.

    Attributes:
        probes: The probes.
        dtype: Type of the frozen model's weights then.
        quantization: ``"int8"``, or empty for weights as they were stored.
        device: Kind of device then, for instance ``"cpu"``.
        transformers: Version of transformers then.
        torch: Version of torch then.
    """

    probes: Annotated[list[ProbeRecord], Field(max_length=MOST_PROBES)] = []
    dtype: _Short = ""
    quantization: _Short = ""
    device: _Short = ""
    transformers: _Short = ""
    torch: _Short = ""

    @model_validator(mode="after")
    def _is_cheap(self) -> Self:
        if sum(len(probe.token_ids) for probe in self.probes) > MOST_PROBE_TOKENS:
            msg = f"at most {MOST_PROBE_TOKENS} token_ids in all probes together"
            raise ValueError(msg)
        return self


class EvaluationRecord(_Record):
    """An evaluation as it was made, so that it can be made again.

    Attributes:
        data: SHA-256 over the rows, as `DataRecord.digest`.
        rows: How many they were.
        source: Where they came from.
        target: The field that holds the answer.
        settings: How answers were made and compared, by name.
        scores: Scores by name.
        intervals: Low and high end of each score's 95 % confidence interval.
        environment: dtype and versions then.
        created: Date, ISO 8601.
    """

    data: _Hash
    rows: _Count
    source: _Text = ""
    target: _Short
    settings: Annotated[dict[_Short, _Scalar], _Few] = {}
    scores: Annotated[dict[_Short, _Finite], _Few] = {}
    intervals: Annotated[dict[_Short, Annotated[list[_Finite], Field(min_length=2, max_length=2)]], _Few] = {}
    environment: Annotated[dict[_Short, _Short], _Few] = {}
    created: _Short = ""


class Manifest(_Record):
    """What this package records about a soft prompt it made.

    Attributes:
        format_version: Version of this file's layout.
        description: What the soft prompt does, in a sentence.
        base_model: The frozen model it was made for.
        method: How it was made, for instance ``"kv-prefix"``.
        hard_prompt: The prompt template it was made with, and the baseline to judge it against.
        input_messages: The messages to send with it: the hard prompt without the instructions it has taken in.
        drop_default_system: Whether chats were rendered without what the template itself puts before the first message:
            its default system message and its begin-of-sequence mark.
        tasks: Names of the tasks of a multitask soft prompt, in order.
        training: Settings and facts of the run.
        seeds: Seeds used.
        data: What it was trained on.
        scores: Scores by name.
        probes: Short texts and what the model said to them, to notice drift by.
        evaluation: The evaluation recorded with it.
        created: Date, ISO 8601.
        package_version: Version of langchain-softprompt that wrote this.
        tensors_sha256: SHA-256 of ``adapter_model.safetensors``.
    """

    format_version: Literal[1] = 1
    description: _Text = ""
    base_model: BaseModelRecord
    method: _Short
    hard_prompt: Annotated[list[TemplateMessage], Field(max_length=100)] = []
    input_messages: Annotated[list[TemplateMessage], Field(max_length=100)] = []
    drop_default_system: bool = False
    tasks: Annotated[list[_Short], Field(max_length=4096)] = []
    training: Annotated[dict[_Short, _Scalar], _Few] = {}
    seeds: Annotated[list[int], Field(max_length=100)] = []
    data: DataRecord | None = None
    scores: Annotated[dict[_Short, _Finite], _Few] = {}
    probes: ProbesRecord | None = None
    evaluation: EvaluationRecord | None = None
    created: _Short = ""
    package_version: _Short = ""
    tensors_sha256: _Hash | None = None

    @property
    def distilled(self) -> bool:
        """Whether it learned from the words of a long prompt, not from wanted answers."""
        return self.method.startswith("distilled")

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Manifest:
        """Check the content of ``soft_prompt.json``.

        Raises:
            InvalidSoftPromptError: A field is missing or has the wrong type.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise invalid_field(MANIFEST_FILE, error) from error


def invalid_field(file: str, error: ValidationError) -> InvalidSoftPromptError:
    """Tell the first thing pydantic found wrong as a typed error."""
    first = error.errors(include_url=False)[0]
    field = printable(".".join(str(part) for part in first["loc"]) or "content")
    if first["type"] == "missing":
        return InvalidSoftPromptError(file=file, field=field, expected="a value", found="nothing")
    expected = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return InvalidSoftPromptError(file=file, field=field, expected=expected, found=shown(first["input"]))
