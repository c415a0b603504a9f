"""Rows of training data: JSONL or CSV, checked line by line before any model is loaded."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from langchain_softprompt.errors import MissingExtraError, TrainingDataError
from langchain_softprompt.soft_prompt.manifest import MOST_MARKS

Row = dict[str, str]


class ReadRow(Row):
    """A row that knows where it was read, so that it can still be named when others were set aside.

    Attributes:
        file: The file.
        line: Its line there, from 1.
    """

    __slots__ = ("file", "line")

    def __init__(self, content: Mapping[str, str], file: str, line: int) -> None:
        super().__init__(content)
        self.file = file
        self.line = line


_ENCODING = "utf-8-sig"  # spreadsheets write a byte order mark
_EXTRA = "\0extra"
_HUB_DATASET = "datasets:"


def read_rows(file: str | Path, fields: Sequence[str]) -> list[Row]:
    """Read rows; every row must have every field in `fields`, as text that is not empty, a number, true or false.

    Numbers are read as they are written, and true and false as these words, as CSV has them.

    Args:
        file: A ``.jsonl`` or ``.csv`` file; or, with the extra ``datasets``, a ``.parquet`` file, a folder that
            ``Dataset.save_to_disk`` wrote, or ``datasets:org/name[:split]`` on the Hub.
        fields: Names of the fields.

    Raises:
        TrainingDataError: The file can't be read, or a line is wrong; the error names it.
        MissingExtraError: The library ``datasets`` is needed and not installed.
    """
    rows: list[Row] = [
        ReadRow({field: _text(Path(file), line, dict(row), field) for field in fields}, str(file), line)
        for line, row in read_objects(file, numbers=str)
    ]
    if not rows:
        raise TrainingDataError(str(file), None, "holds no rows.")
    return rows


def read_objects(file: str | Path, *, numbers: Callable[[str], Any] | None = None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The lines of a file, each with its number, whatever they hold; `numbers` reads those of JSON. Errors as of `read_rows`."""
    path = Path(file)
    if path.is_dir() or path.suffix == ".parquet" or str(file).startswith(_HUB_DATASET):
        yield from enumerate(_dataset(str(file)), start=1)
        return
    readers: dict[str, Callable[[Path], Iterator[tuple[int, dict[str, Any]]]]] = {
        ".jsonl": partial(_json_lines, numbers=numbers),
        ".csv": _csv_lines,
    }
    reader = readers.get(path.suffix)
    if reader is None:
        raise TrainingDataError(
            str(path), None, f"expected a .jsonl, .csv or .parquet file, or the folder of a dataset, found {path.suffix or 'no ending'!r}."
        )
    try:
        yield from reader(path)
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingDataError(str(path), None, f"can't be read: {error}.") from error


def check_rows(rows: Iterable[Mapping[str, Any]], fields: Sequence[str], source: str = "data") -> list[Row]:
    """Check rows from anywhere, a `datasets.Dataset` for instance, as `read_rows` checks those of a file.

    Args:
        rows: The rows; other fields are left out.
        fields: What every row must have, as text that is not empty, a number, true or false.
        source: Where they came from, for error messages.

    Raises:
        TrainingDataError: A row is wrong; the error names it, counted from 1.
    """
    checked: list[Row] = [
        ReadRow({field: _text(Path(source), line, dict(row), field) for field in fields}, source, line)
        for line, row in enumerate(rows, start=1)
    ]
    if not checked:
        raise TrainingDataError(source, None, "holds no rows.")
    return checked


def digest_rows(rows: Iterable[Mapping[str, str]]) -> str:
    """SHA-256 over rows, whatever the order of their fields."""
    made = hashlib.sha256()
    for row in rows:
        made.update(json.dumps(dict(row), sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return made.hexdigest()


def row_marks(rows: Iterable[Mapping[str, str]], fields: Sequence[str]) -> list[str]:
    """A sample of rows to know them again by: the smallest of their hashes, whatever the order of rows and fields.

    Two sets of rows that share many share many of these (bottom-k sketch; Broder 1997). From a mark no row can be read, but who
    has a row can tell whether it is among them.

    Args:
        rows: The rows.
        fields: What of them counts.

    Returns:
        At most `MOST_MARKS` hashes of 16 hexadecimal characters.
    """
    return sorted({mark_of(row, fields) for row in rows})[:MOST_MARKS]


def mark_of(row: Mapping[str, str], fields: Sequence[str]) -> str:
    """The hash that `row_marks` knows a row by."""
    return digest_rows([{field: row[field] for field in fields}])[:16]


def _dataset(name: str) -> Iterable[Mapping[str, Any]]:
    try:
        import datasets
    except ImportError as error:
        msg = f"{name}: reading it needs the library datasets. Install it: pip install 'langchain-softprompt[datasets]'."
        raise MissingExtraError(msg) from error
    try:
        if name.startswith(_HUB_DATASET):
            repository, _, split = name.removeprefix(_HUB_DATASET).partition(":")
            loaded: Any = datasets.load_dataset(repository, split=split or "train")
        elif Path(name).is_dir():
            loaded = datasets.load_from_disk(name)
        else:
            loaded = datasets.Dataset.from_parquet(name)
    except Exception as error:  # Whatever pyarrow, fsspec or the Hub raise.
        raise TrainingDataError(name, None, f"can't be read as a dataset: {error}") from error
    if isinstance(loaded, Mapping):
        raise TrainingDataError(name, None, f"holds several splits: {', '.join(map(str, loaded))}. Name the folder of one of them.")
    return _named_labels(loaded)


def _named_labels(rows: Any) -> Iterable[Mapping[str, Any]]:
    """Labels that a dataset keeps as numbers, by their names."""
    named = {name: feature for name, feature in rows.features.items() if hasattr(feature, "int2str")}
    for row in rows:
        known = {name: feature.int2str(row[name]) for name, feature in named.items() if row[name] is not None and row[name] >= 0}
        yield {**row, **known}


def _json_lines(path: Path, *, numbers: Callable[[str], Any] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding=_ENCODING) as stream:
        for line, text in enumerate(stream, start=1):
            if not text.strip():
                continue
            try:
                content = json.loads(text, parse_int=numbers, parse_float=numbers)  # as text, 1.10 stays 1.10
            except (ValueError, RecursionError) as error:
                raise TrainingDataError(str(path), line, f"not valid JSON: {error}.") from error
            if not isinstance(content, dict):
                raise TrainingDataError(str(path), line, f"expected a JSON object, found {type(content).__name__}.")
            yield line, content


def _csv_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding=_ENCODING, newline="") as stream:
        reader = csv.DictReader(stream, restkey=_EXTRA, strict=True)
        names = _header(path, reader)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise TrainingDataError(str(path), 1, f"names the field {twice!r} twice. Give each column a name of its own.")
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


def _header(path: Path, reader: csv.DictReader[str]) -> list[str]:
    try:
        return list(reader.fieldnames or [])
    except csv.Error as error:
        raise TrainingDataError(str(path), 1, f"not valid CSV from here on: {error}.") from error


def _text(path: Path, line: int, content: dict[str, Any], field: str) -> str:
    if field not in content:
        known = ", ".join(str(name) for name in content)
        raise TrainingDataError(str(path), line, f"has no field {field!r}; its fields are: {known}.")
    value = content[field]
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    if isinstance(value, dict | list):
        problem = f"field {field!r}: expected text, found {value!r}. Write JSON as text: in quotes, with those inside it escaped."
        raise TrainingDataError(str(path), line, problem)
    if not isinstance(value, str) or not value.strip():
        raise TrainingDataError(str(path), line, f"field {field!r}: expected text that is not empty, found {value!r}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TrainingDataError(str(path), line, f"field {field!r}: half a character ({value[error.start]!r}).") from error
    return value
