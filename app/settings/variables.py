"""Variables that hold something and are no settings: foreign, misspelled and unknown ones."""

import re

from app.settings.model import Settings
from app.settings.spelling import PREFIXES, foreign_variables, misspelled, setting_like

_DSN = re.compile(r"(postgres(ql)?(\+\w+)?|jdbc:postgresql)://", re.IGNORECASE)


def foreign_dsns() -> list[str]:
    """Names of variables that hold a DSN of PostgreSQL and are not ours, in the environment and in
    `.env`, sorted.
    """
    return sorted(
        name for name, value in foreign_variables(Settings).items() if _DSN.match(value.strip())
    )


def misspelled_variables() -> dict[str, str]:
    """Names of variables that are nearly those of settings, with the setting that is meant."""
    return misspelled(Settings)


def unknown_variables() -> list[str]:
    """Names of variables that hold something, begin like those of settings and are like none, in
    the environment and in `.env`.
    """
    return sorted(
        name
        for name in foreign_variables(Settings)
        if name.upper().startswith(PREFIXES) and setting_like(name, Settings) is None
    )


def misnamed_databases() -> list[str]:
    """Names of variables that are nearly DATABASE_URL and hold what that or its file may hold, in
    the environment and in `.env`.
    """
    held, meant = foreign_variables(Settings), misspelled_variables()
    return [
        name
        for name, setting in meant.items()
        if (setting == "DATABASE_URL" and _DSN.match(held[name].strip()))
        or setting == "DATABASE_URL_FILE"
    ]
