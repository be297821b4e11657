"""Validators of settings."""

import re
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from app.dsn import Dsn, DsnError
from app.errors import ConfigurationError

OWN_WORDS = "own_words"
"""Type of errors with our message, which quotes no value."""
_SCHEMA = re.compile(r"(?!pg_)[A-Za-z_][A-Za-z0-9_]{0,62}")


def reader(read: Callable[[str], object], prefix: str = "cannot be read: ") -> BeforeValidator:
    """A validator that reads a text; its errors quote no value."""

    def validated(value: object) -> object:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        try:
            return read(text) if isinstance(text, str) else text
        except (ConfigurationError, DsnError) as error:
            raise PydanticCustomError(OWN_WORDS, "{said}", {"said": f"{prefix}{error}"}) from None

    return BeforeValidator(validated)


def _or_from_file(value: object, others: ValidationInfo) -> object:
    """The value, or the content of the file that NAME_FILE names."""
    name = (others.field_name or "").upper()
    file = others.data.get(f"{others.field_name}_file")
    if file is None:
        return value
    if value is not None:
        raise PydanticCustomError(
            OWN_WORDS, "{said}", {"said": f"and {name}_FILE are both set: leave one of them out"}
        )
    try:
        text = Path(file).expanduser().read_text(encoding="utf-8-sig").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise PydanticCustomError(
            OWN_WORDS,
            "{said}",
            {"said": f"cannot be read from {file}, which {name}_FILE names: {reason}"},
        ) from None
    if not text.strip():
        raise PydanticCustomError(
            OWN_WORDS, "{said}", {"said": f"is empty in {file}, which {name}_FILE names"}
        )
    return text


def beside_database_url(value: Dsn, others: ValidationInfo) -> Dsn:
    """A direct DSN, which needs DATABASE_URL."""
    # An invalid DATABASE_URL is missing here, and has its own error.
    if others.data.get("database_url", value) is None:
        raise ValueError
    return value


def schema_name(value: str) -> str:
    """A schema's name."""
    if not _SCHEMA.fullmatch(value):
        raise ValueError
    return value


def base_url(value: str) -> str:
    """The API's URL, ending with `/`."""
    parts = urlsplit(value)  # ValueError for brackets that do not match
    secret = parts.username is not None or parts.password is not None
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or secret
        or parts.query
        or parts.fragment
    ):
        raise ValueError
    if (
        parts.port == 0 or not value.isprintable() or " " in value
    ):  # reading `port` raises ValueError above 65535
        raise ValueError
    return value if value.endswith("/") else f"{value}/"


def header_value(value: SecretStr) -> SecretStr:
    """A secret fit for a header."""
    key = value.get_secret_value()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError
    return value


def zone_name(value: str) -> str:
    """A time zone's name."""
    try:
        zoneinfo.ZoneInfo(value)
    except (
        zoneinfo.ZoneInfoNotFoundError,
        OSError,
    ) as error:  # OSError: the name of a folder, such as America
        raise ValueError from error
    return value


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


Stripped = BeforeValidator(_stripped)
OrFromFile = BeforeValidator(_or_from_file)
A_FILE = "the path of a file that holds the value"
Seconds = Annotated[
    float,
    Field(
        gt=0,
        le=86_400,
        allow_inf_nan=False,
        description="a number of seconds above 0, at most 86400",
    ),
]
