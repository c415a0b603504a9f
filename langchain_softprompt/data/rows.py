"""Rows of training data: JSONL or CSV, checked line by line before any model is loaded."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_softprompt.errors import TrainingDataError

Row = dict[str, str]
_ENCODING = "utf-8-sig"  # spreadsheets write a byte order mark
_EXTRA = "\0extra"


def read_rows(file: str | Path, fields: Sequence[str]) -> list[Row]:
    """Read a ``.jsonl`` or ``.csv`` file; every row must have every field in `fields`, as text that is not empty.

    Raises:
        TrainingDataError: The file can't be read, or a line is wrong; the error names it.
    """
    path = Path(file)
    readers = {".jsonl": _json_lines, ".csv": _csv_lines}
    reader = readers.get(path.suffix)
    if reader is None:
        raise TrainingDataError(str(path), None, f"expected a .jsonl or .csv file, found {path.suffix or 'no ending'!r}.")
    rows = []
    try:
        for line, content in reader(path):
            rows.append({field: _text(path, line, content, field) for field in fields})
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingDataError(str(path), None, f"can't be read: {error}.") from error
    if not rows:
        raise TrainingDataError(str(path), None, "holds no rows.")
    return rows


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding=_ENCODING) as stream:
        for line, text in enumerate(stream, start=1):
            if not text.strip():
                continue
            try:
                content = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise TrainingDataError(str(path), line, f"not valid JSON: {error}.") from error
            if not isinstance(content, dict):
                raise TrainingDataError(str(path), line, f"expected a JSON object, found {type(content).__name__}.")
            yield line, content


def _csv_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding=_ENCODING, newline="") as stream:
        reader = csv.DictReader(stream, restkey=_EXTRA, strict=True)
        while True:
            try:
                content = next(reader, None)
            except csv.Error as error:
                raise TrainingDataError(str(path), reader.line_num + 1, f"not valid CSV from here on: {error}.") from error
            if content is None:
                return
            if _EXTRA in content:
                raise TrainingDataError(
                    str(path), reader.line_num, "has more values than the header has names. Put text with commas in quotes."
                )
            yield reader.line_num, content


def _text(path: Path, line: int, content: dict[str, Any], field: str) -> str:
    if field not in content:
        known = ", ".join(str(name) for name in content)
        raise TrainingDataError(str(path), line, f"has no field {field!r}; its fields are: {known}.")
    value = content[field]
    if not isinstance(value, str) or not value.strip():
        raise TrainingDataError(str(path), line, f"field {field!r}: expected text that is not empty, found {value!r}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TrainingDataError(str(path), line, f"field {field!r}: half a character ({value[error.start]!r}).") from error
    return value
