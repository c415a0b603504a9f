"""Licences as people write them become the identifiers that the Hub takes; a card with any other is refused there."""

from __future__ import annotations

import re

# https://huggingface.co/docs/hub/repositories-licenses, save "unknown" and "other", which say nothing.
_NAMES = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m bsd bsd-2-clause
bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0
cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0
cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0
etalab-2.0 eupl-1.1 gemma gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 lppl-1.3c mit mpl-2.0 ms-pl ncsa
odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 pddl postgresql unlicense wtfpl zlib
"""
LICENCES = frozenset(_NAMES.split())
_IN_FULL = (
    ("creative-commons", "cc"),
    ("cc-zero", "cc0"),
    ("attribution", "by"),
    ("non-?commercial", "nc"),
    ("no-?deriv(?:ative)?s(?:-works)?", "nd"),
    ("share-?alike", "sa"),
    ("affero-general-public", "agpl"),
    ("lesser-general-public", "lgpl"),
    ("general-public", "gpl"),
    ("mozilla-public", "mpl"),
)
_SAYS_NOTHING = re.compile(r"the|gnu|licen[cs]ed?|under|version|v|international|unported|universal|generic")


def hub_licence(text: str) -> str | None:
    """The Hub's identifier of a licence, ``None`` where it is not certain which one is meant.

    Args:
        text: The licence as it was written down, for instance ``CC BY 4.0``.
    """
    slug = re.sub(r"[^a-z0-9.+]+", "-", text.lower()[:200]).strip("-.")
    slug = re.sub(r"(?<![a-z])v(?=\d)", "", re.sub(r"gplv(?=\d)", "gpl-", slug))
    if slug in LICENCES:
        return slug
    for name, short in _IN_FULL:
        slug = re.sub(rf"(?<![a-z]){name}(?![a-z])", short, slug)
    slug = "-".join(word for word in slug.split("-") if word and not _SAYS_NOTHING.fullmatch(word))
    found = (each for each in (slug, f"{slug}.0", f"{slug}-1.0") if each in LICENCES)
    return next(found, None) if slug not in {"", "cc", "by"} else None


__all__ = ["LICENCES", "hub_licence"]
