"""The engine's models as HTTP's."""

from typing import TypeVar

from pydantic import BaseModel

_Model = TypeVar("_Model", bound=BaseModel)


def shown(model: type[_Model], found: object) -> _Model:
    """The engine's finding as a model of HTTP."""
    return model.model_validate(found, from_attributes=True)
