"""Licences as people write them."""

from __future__ import annotations

import pytest

from langchain_softprompt.card.licences import LICENCES, hub_licence


@pytest.mark.parametrize(
    ("written", "known_as"),
    [
        ("CC BY 4.0", "cc-by-4.0"),
        ("cc-by-4.0", "cc-by-4.0"),
        ("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0"),
        ("Creative Commons Attribution-ShareAlike 4.0 International", "cc-by-sa-4.0"),
        ("CC0", "cc0-1.0"),
        ("CC0 1.0 Universal", "cc0-1.0"),
        ("MIT", "mit"),
        ("The MIT License", "mit"),
        ("Apache 2", "apache-2.0"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("GPLv3", "gpl-3.0"),
        ("GNU General Public License v3.0", "gpl-3.0"),
        ("GNU Affero General Public License v3", "agpl-3.0"),
        ("ODbL", "odbl"),
        ("BSD-3-Clause", "bsd-3-clause"),
    ],
)
def test_a_licence_has_the_hubs_identifier(written: str, known_as: str) -> None:
    assert hub_licence(written) == known_as


@pytest.mark.parametrize("identifier", sorted(LICENCES))
def test_each_of_the_hubs_identifiers_is_itself(identifier: str) -> None:
    assert hub_licence(identifier) == identifier
    assert hub_licence(identifier.upper()) == identifier


@pytest.mark.parametrize(
    "written",
    [
        "",
        "Apache",
        "CC BY",
        "Creative Commons",
        "unknown",
        "other",
        "proprietary",
        "MIT and CC BY 4.0",
        "CC BY 4.0 / MIT",
        "see LICENSE",
        "MIT" * 9999,
    ],
)
def test_where_it_is_not_certain_which_one_is_meant_there_is_none(written: str) -> None:
    assert hub_licence(written) is None
