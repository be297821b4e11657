"""Models of the engine as those of HTTP."""

from typing import TypeVar

from pydantic import BaseModel

_Model = TypeVar("_Model", bound=BaseModel)


def shown(model: type[_Model], found: object) -> _Model:
    """What the engine found, validated as a model of HTTP, field by field."""
    return model.model_validate(found, from_attributes=True)
