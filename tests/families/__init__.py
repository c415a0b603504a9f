"""Every family that transformers generates text with, as a tiny random model, and what the engine makes of it.

Files:
    sizes.py    small sizes for every configuration, and what single families need beside
    tiny.py     a family's name becomes a tiny random model
    verdict.py  how a family is served: its answers held against transformers' own, or the error that refuses it
    page.py     the verdicts as the table in docs/models.md; `python -m tests.families.page` writes it
"""
