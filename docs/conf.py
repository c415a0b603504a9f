"""Sphinx configuration."""

from __future__ import annotations

from langchain_softprompt import __version__

project = "langchain-softprompt"
author = "The langchain-softprompt developers"
copyright = f"2026, {author}"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes in the class docstring, once
default_role = "code"

# The site is built offline, without other projects' inventories: only our own names must resolve.
nitpick_ignore_regex = [(r"py:.*", r"(?!langchain_softprompt).*"), (r"py:class", r".*\.(Label|R_co)")]  # the second are type variables

html_theme = "furo"
html_title = f"langchain-softprompt {release}"
