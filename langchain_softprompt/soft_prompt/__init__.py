"""The soft prompt as an artifact: a folder in PEFT's format plus our manifest, read with distrust.

Files:
    soft_prompt.py    SoftPrompt: one validated soft prompt; load, save, content hash
    peft_format.py    PEFT's adapter_config.json: which types, which fields, which tensor shapes
    manifest.py       Manifest: what PEFT's files don't say, in soft_prompt.json
    template_text.py  the text of a prompt template: plain fields only
    folder.py         reading files out of a folder that nobody vouches for
"""

from __future__ import annotations

from langchain_softprompt.soft_prompt.manifest import (
    BaseModelRecord,
    DataRecord,
    EvaluationRecord,
    Manifest,
    ProbeRecord,
    ProbesRecord,
    TemplateMessage,
)
from langchain_softprompt.soft_prompt.soft_prompt import SoftPrompt

__all__ = ["BaseModelRecord", "DataRecord", "EvaluationRecord", "Manifest", "ProbeRecord", "ProbesRecord", "SoftPrompt", "TemplateMessage"]
