"""What pydantic finds wrong with the user's keys and values, in one sentence each and in the words of a config file."""

import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from scident.errors import ConfigError, nearest

T = TypeVar("T", bound=BaseModel)

WORDS = {
    "dict_type": "must be a mapping (lines of `key: value`)",
    "model_type": "must be a mapping (lines of `key: value`)",
    "list_type": "must be a list (as in `[a, b]`)",
    "invalid_key": "must have a name that is text; put it in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty; add at least {min_length}",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
}
"""Kind of error to our words; kinds not named here keep pydantic's."""


def parse(model: type[T], raw: Mapping[str, Any], where: str, also: Iterable[str] = ()) -> T:
    """Check keys and values against a pydantic model.

    Parameters
    ----------
    model
        What may stand there.
    raw
        What stands there.
    where
        The place, as the first words of every sentence.
    also
        Keys that are known beside the model's own, for the message about an unknown one.

    Raises
    ------
    ConfigError
        One line for each mistake: the key, what it must be, what was found.
    """
    try:
        return model.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError("\n".join(_sentences(error.errors(), model, where, set(also)))) from error


def _sentences(problems: list[ErrorDetails], model: type[BaseModel], where: str, also: set[str]) -> Iterator[str]:
    unknown = [str(problem["loc"][-1]) for problem in problems if problem["type"] == "extra_forbidden"]
    for problem in problems:
        word = str(problem["loc"][-1]) if problem["loc"] else ""
        place = ".".join(str(step) for step in problem["loc"] if not str(step).startswith("["))
        key = f"{where}: {place}" if place else where
        if problem["type"] == "extra_forbidden":
            known = sorted({*_keys_at(model, problem["loc"][:-1]), *(also if len(problem["loc"]) == 1 else ())})
            yield f"{where}: unknown key {place!r}; known: {known}.{nearest(word, known)}"
        elif problem["type"] == "missing":
            if not nearest(word, unknown):  # a misspelt key is one mistake, not two
                yield f"{key} is missing; add it"
        else:
            found = "" if _is_the_whole(problem["input"]) else f", found {problem['input']!r}"
            yield f"{key}: {_words(problem)}{found}"


def _words(problem: ErrorDetails) -> str:
    if problem["type"] in WORDS:
        return WORDS[problem["type"]].format(**problem.get("ctx", {}))
    message = problem["msg"].removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}"


def _is_the_whole(value: object) -> bool:
    """Whether a value is too long, or too empty, to be repeated in a sentence."""
    return isinstance(value, BaseModel) or (isinstance(value, dict | list) and (not value or len(str(value)) > 60))


def _keys_at(model: type[BaseModel], path: Iterable[int | str]) -> Iterable[str]:
    steps = iter(path)
    for step in steps:
        field = model.model_fields.get(str(step))
        annotation = None if field is None else field.annotation
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            next(steps, None)  # the entry's own name
        inner = [c for c in _classes(annotation) if issubclass(c, BaseModel)]
        if inner:
            model = inner[0]
    return model.model_fields


def _classes(annotation: object) -> list[type]:
    if get_origin(annotation) in {types.UnionType, Union}:
        return [c for part in get_args(annotation) for c in _classes(part)]
    return [annotation] if isinstance(annotation, type) and get_origin(annotation) is None else []
