"""Fixtures that every test may use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def _same_environment_after() -> Iterator[None]:
    """A test that changes the environment or the working folder doesn't change it for the next one."""
    environment, folder = dict(os.environ), os.getcwd()  # noqa: PTH109
    yield
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
