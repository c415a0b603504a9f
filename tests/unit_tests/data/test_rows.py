"""Rows of training data: every line that can't be used is named with its number."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_softprompt.data import check_rows, read_rows
from langchain_softprompt.errors import MissingExtraError, TrainingDataError

_FIELDS = ["text", "label"]


def _file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", '{"text": "a, b", "label": "x", "more": 3}\n\n{"text": "ä\\n", "label": "y"}\n'),
        ("rows.jsonl", '\ufeff{"text": "a, b", "label": "x"}\r\n{"label": "y", "text": "ä\\n"}'),
        ("rows.csv", 'text,label,more\n"a, b",x,3\n"ä\n",y,\n'),
        ("rows.csv", '\ufefflabel,text\r\nx,"a, b"\r\n\r\ny,"ä\n"\r\n'),
    ],
)
def test_the_wanted_fields_of_each_row_are_read_and_the_others_left(tmp_path: Path, name: str, content: str) -> None:
    rows = read_rows(_file(tmp_path, name, content), _FIELDS)
    assert rows == [{"text": "a, b", "label": "x"}, {"text": "ä\n", "label": "y"}]


_GOOD = '{"text": "a", "label": "x"}\n'


@pytest.mark.parametrize(
    ("name", "content", "line", "problem"),
    [
        ("r.jsonl", _GOOD + "{", 2, "not valid JSON"),
        ("r.jsonl", _GOOD + "\n\n[1]\n", 4, "expected a JSON object, found list"),
        ("r.jsonl", _GOOD + '{"text": "a"}\n', 2, "has no field 'label'; its fields are: text"),
        ("r.jsonl", _GOOD + '{"text": "", "label": "x"}\n', 2, "field 'text': expected text that is not empty, found ''"),
        ("r.jsonl", _GOOD + '{"text": " \\n", "label": "x"}\n', 2, "field 'text': expected text that is not empty"),
        ("r.jsonl", '{"text": "a", "label": {"x": 3}}\n', 1, "Write JSON as text"),
        ("r.jsonl", '{"text": "a", "label": ["x"]}\n', 1, "Write JSON as text"),
        ("r.jsonl", '{"text": "a", "label": NaN}\n', 1, "field 'label': expected text that is not empty, found nan"),
        ("r.csv", "text,label,label\na,x,y\n", 1, "names the field 'label' twice"),
        ("r.jsonl", '{"text": null, "label": "x"}\n', 1, "field 'text'"),
        ("r.jsonl", '{"text": "\\ud800", "label": "x"}\n', 1, "field 'text': half a character"),
        ("r.jsonl", "[" * 100_000, 1, "not valid JSON"),
        ("r.csv", "text,label\na,x\nb\n", 3, "field 'label': expected text that is not empty, found None"),
        ("r.csv", "text,label\na,x\nb,\n", 3, "field 'label'"),
        ("r.csv", "text,label\nHello, world,x\n", 2, "more values than the header has names"),
        ("r.csv", "text,other\na,x\n", 2, "has no field 'label'; its fields are: text, other"),
        ("r.csv", 'text,label\na,x\n"b,y\n', 3, "not valid CSV"),
    ],
)
def test_a_line_that_can_not_be_used_is_named_with_its_number(tmp_path: Path, name: str, content: str, line: int, problem: str) -> None:
    path = _file(tmp_path, name, content)
    with pytest.raises(TrainingDataError) as caught:
        read_rows(path, _FIELDS)
    assert (caught.value.file, caught.value.line) == (str(path), line)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("r.jsonl", "", "holds no rows"),
        ("r.jsonl", "\n \n", "holds no rows"),
        ("r.csv", "", "holds no rows"),
        ("r.csv", "text,label\n", "holds no rows"),
        ("r.txt", "a", r"expected a .jsonl, .csv or .parquet file, or the folder of a dataset, found '.txt'"),
        ("rows", "a", "found 'no ending'"),
        ("r.jsonl", b"\xff\xfe", "can't be read"),
        ("r.csv", b"text,label\n\xff,x\n", "can't be read"),
    ],
)
def test_a_file_that_holds_no_rows_is_refused_as_a_whole(tmp_path: Path, name: str, content: str | bytes, problem: str) -> None:
    with pytest.raises(TrainingDataError, match=problem) as caught:
        read_rows(_file(tmp_path, name, content), _FIELDS)
    assert caught.value.line is None


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name in ("none.jsonl", "folder.csv"):
        with pytest.raises(TrainingDataError, match=name):
            read_rows(tmp_path / name, _FIELDS)


def test_numbers_and_truth_values_are_the_texts_that_csv_has_for_them(tmp_path: Path) -> None:
    """Both written by hand, so that neither reader is held against itself."""
    lines = _file(tmp_path, "r.jsonl", '{"n": 3, "x": 1.10, "big": 123456789012345678901, "b": true}\n')
    table = _file(tmp_path, "r.csv", "n,x,big,b\n3,1.10,123456789012345678901,true\n")
    fields = ["n", "x", "big", "b"]
    assert read_rows(lines, fields) == read_rows(table, fields) == [{"n": "3", "x": "1.10", "big": "123456789012345678901", "b": "true"}]
    assert check_rows([{"n": 3, "x": 1.5, "b": False}], ["n", "x", "b"]) == [{"n": "3", "x": "1.5", "b": "false"}]
    with pytest.raises(TrainingDataError, match="found inf"):
        check_rows([{"n": float("inf")}], ["n"])


def test_labels_that_a_dataset_keeps_as_numbers_are_read_by_their_names(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["farm", "sea"])})
    datasets.Dataset.from_list([{"text": "cow", "label": 0}, {"text": "eel", "label": 1}], features=features).save_to_disk(
        str(tmp_path / "homes")
    )
    assert [row["label"] for row in read_rows(tmp_path / "homes", _FIELDS)] == ["farm", "sea"]


@given(
    content=st.binary(max_size=60) | st.text(alphabet='text,label\n"{}[]: \\x\r\0', max_size=60).map(str.encode),
    ending=st.sampled_from(["jsonl", "csv"]),
)
def test_any_file_at_all_gives_rows_of_text_or_one_typed_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str
) -> None:
    path = _file(tmp_path_factory.getbasetemp(), f"any.{ending}", content)
    try:
        rows = read_rows(path, ["text"])
    except TrainingDataError:
        return
    assert all(isinstance(row["text"], str) and row["text"].strip() for row in rows)


def test_a_datasets_folder_and_a_parquet_file_give_the_rows_that_datasets_wrote(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"text": "cow", "label": "farm", "number": 1}, {"text": "eel", "label": "sea", "number": 2}]
    written = datasets.Dataset.from_list(rows)
    written.save_to_disk(str(tmp_path / "homes"))
    written.to_parquet(str(tmp_path / "homes.parquet"))
    wanted = [{"text": row["text"], "label": row["label"]} for row in rows]
    assert read_rows(tmp_path / "homes", _FIELDS) == read_rows(tmp_path / "homes.parquet", _FIELDS) == wanted
    assert check_rows(written, _FIELDS) == wanted
    assert read_rows(tmp_path / "homes", ["number"]) == [{"number": "1"}, {"number": "2"}]
    datasets.DatasetDict({"train": written}).save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(TrainingDataError, match="holds several splits: train"):
        read_rows(tmp_path / "splits", _FIELDS)
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(TrainingDataError, match="can't be read as a dataset"):
        read_rows(tmp_path / "broken.parquet", _FIELDS)


def test_a_dataset_without_its_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'langchain-softprompt\[datasets\]'"):
        read_rows(tmp_path, _FIELDS)


def test_rows_from_anywhere_are_checked_like_those_of_a_file() -> None:
    assert check_rows(({"text": text, "more": 1} for text in "ab"), ["text"]) == [{"text": "a"}, {"text": "b"}]
    with pytest.raises(TrainingDataError, match="mine, line 2: field 'text'"):
        check_rows([{"text": "a"}, {"text": " "}], ["text"], "mine")
    with pytest.raises(TrainingDataError, match="mine: holds no rows"):
        check_rows([], ["text"], "mine")
