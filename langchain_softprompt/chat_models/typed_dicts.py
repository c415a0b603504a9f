"""A `TypedDict` class as a JSON schema, where LangChain's own conversion gives up too."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, NotRequired, Required, Union, cast, get_args, get_origin

from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import PydanticUserError, TypeAdapter
from typing_extensions import TypedDict, get_type_hints, is_typeddict

from langchain_softprompt.errors import InvalidGrammarError
from langchain_softprompt.grammars.schema_walk import walk

_DOC_OF_DICT = inspect.getdoc(dict)


def typed_dict_schema(kind: type) -> dict[str, Any]:
    """The JSON schema of a `TypedDict` class; defaults and descriptions as LangChain has them, ``Annotated[int, ..., "how many"]``.

    Raises:
        InvalidGrammarError: It has no schema.
    """
    try:
        schema = convert_to_json_schema(kind)
    except Exception:  # noqa: BLE001 - it knows no NotRequired, for one, and no class that refers to itself
        schema = _by_pydantic(kind)
    if any(isinstance(part.get("items"), list) for _, part in walk(schema)):  # tuples of a draft of long ago
        schema = _by_pydantic(kind)
    return cast("dict[str, Any]", _without_doc_of_dict(schema))


def _by_pydantic(kind: type) -> dict[str, Any]:
    try:
        schema = TypeAdapter(_of_today(kind)).json_schema()
    except (PydanticUserError, NameError, TypeError, RecursionError) as error:
        said = str(error).partition("\n")[0]
        msg = f"{kind.__name__} can't be written as a JSON schema: {said} Change it there, or give a Pydantic class."
        raise InvalidGrammarError(msg) from None
    for name, hint in get_type_hints(kind, include_extras=True).items():
        described = _description(hint)
        if described is not None:
            schema["properties"][name].setdefault("description", described)
    return schema


def _of_today(hint: Any) -> Any:
    """A hint whose `TypedDict` classes are those of typing_extensions: before Python 3.12 Pydantic takes no others."""
    if is_typeddict(hint):
        return hint if type(hint).__module__ == "typing_extensions" else _class_of_today(hint)
    origin, inside = get_origin(hint), get_args(hint)
    if origin is None or origin is Literal or not inside:
        return hint
    if origin is Annotated:
        return Annotated[(_of_today(inside[0]), *inside[1:])]
    of_today = tuple(map(_of_today, inside))
    if origin is UnionType:
        return Union[of_today]  # noqa: UP007 - of a tuple
    return hint if of_today == inside else origin[of_today if len(of_today) > 1 else of_today[0]]


def _class_of_today(kind: Any) -> Any:
    fields = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        told = str(get_origin(hint)).endswith("Required")  # of either module
        of_today = _of_today(hint)
        fields[name] = of_today if told else Required[of_today] if name in kind.__required_keys__ else NotRequired[of_today]
    again = TypedDict(kind.__name__, fields)  # type: ignore[misc]
    again.__doc__ = kind.__doc__
    return again


def _description(hint: Any) -> str | None:
    """The text in an ``Annotated``, also inside ``NotRequired`` and its like."""
    while get_origin(hint) is not None:
        inside, *remarks = get_args(hint)
        if get_origin(hint) is Annotated:
            return next((remark for remark in remarks if isinstance(remark, str)), None)
        if remarks:
            return None
        hint = inside
    return None


def _without_doc_of_dict(schema: Any) -> Any:
    """A class without a docstring inherits that of `dict`, which says nothing of it."""
    if isinstance(schema, Mapping):
        return {key: _without_doc_of_dict(value) for key, value in schema.items() if not (key == "description" and value == _DOC_OF_DICT)}
    return [_without_doc_of_dict(entry) for entry in schema] if isinstance(schema, list) else schema


__all__ = ["typed_dict_schema"]
