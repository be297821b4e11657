"""Variables that hold something and are no settings: foreign, misspelled and unknown ones."""

import os
import re
from collections.abc import Mapping

from pydantic_settings import DotEnvSettingsSource

from app.domain.wording.nearest import nearest
from app.settings.model import Settings

ENV_FILE = ".env"
_DSN = re.compile(r"(postgres(ql)?(\+\w+)?|jdbc:postgresql)://", re.IGNORECASE)
_PREFIXES = ("RECON_", "RISK_API_")
"""Names that begin so are meant for trade-recon."""
_NEARLY = 0.85
_NEARLY_WITH_PREFIX = 0.75
"""How much of a name must be that of a setting, 1 being all of it, to be taken for a mistake in its
spelling.
"""


def foreign_dsns() -> list[str]:
    """Names of variables that hold a DSN of PostgreSQL and are not ours, in the environment and in
    `.env`, sorted.
    """
    return sorted(name for name, value in _foreign_variables().items() if _DSN.match(value.strip()))


def misspelled_variables() -> dict[str, str]:
    """Names of variables that hold something and are nearly those of settings, in the environment
    and in `.env`, with what is meant.
    """
    return {
        name: meant
        for name in sorted(_foreign_variables())
        if (meant := _setting_like(name)) is not None
    }


def unknown_variables() -> list[str]:
    """Names of variables that hold something, begin like those of settings and are like none, in
    the environment and in `.env`.
    """
    return sorted(
        name
        for name in _foreign_variables()
        if name.upper().startswith(_PREFIXES) and _setting_like(name) is None
    )


def misnamed_databases() -> list[str]:
    """Names of variables that are nearly DATABASE_URL and hold what that or its file may hold, in
    the environment and in `.env`.
    """
    held, meant = _foreign_variables(), misspelled_variables()
    return [
        name
        for name, setting in meant.items()
        if (setting == "DATABASE_URL" and _DSN.match(held[name].strip()))
        or setting == "DATABASE_URL_FILE"
    ]


def _setting_like(name: str) -> str | None:
    is_ours = name.upper().startswith(_PREFIXES)
    return nearest(
        name,
        [field.upper() for field in Settings.model_fields],
        _NEARLY_WITH_PREFIX if is_ours else _NEARLY,
    )


def _foreign_variables() -> Mapping[str, str]:
    """Variables that hold something and are not ours, in the environment and in `.env`."""
    ours = {name.upper() for name in Settings.model_fields}
    known = {
        **DotEnvSettingsSource(
            Settings, env_file=ENV_FILE, env_file_encoding="utf-8", case_sensitive=True
        ).env_vars,
        **os.environ,
    }
    return {name: value for name, value in known.items() if value and name.upper() not in ours}


def hint(values: Mapping[str, object]) -> str:
    """What was probably meant to be one of the variables that are missing."""
    missing = {name for name, value in values.items() if value is None}
    slips = [
        f"{name} is set: is {meant} meant?"
        for name, meant in misspelled_variables().items()
        if meant in missing
    ]
    return "".join(f" {slip}" for slip in slips)
