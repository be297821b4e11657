"""Variables that are no settings: foreign, misspelled, unknown."""

import re

from app.settings.model import Settings
from app.settings.spelling import PREFIXES, foreign_variables, misspelled, setting_like

_DSN = re.compile(r"(postgres(ql)?(\+\w+)?|jdbc:postgresql)://", re.IGNORECASE)


def foreign_dsns() -> list[str]:
    """Variables that hold a PostgreSQL DSN, sorted."""
    return sorted(
        name for name, value in foreign_variables(Settings).items() if _DSN.match(value.strip())
    )


def misspelled_variables() -> dict[str, str]:
    """Misspelled variables, with the settings meant."""
    return misspelled(Settings)


def unknown_variables() -> list[str]:
    """Variables with our prefix that resemble no setting."""
    return sorted(
        name
        for name in foreign_variables(Settings)
        if name.upper().startswith(PREFIXES) and setting_like(name, Settings) is None
    )


def misnamed_databases() -> list[str]:
    """Misspellings of DATABASE_URL or its file, with a matching value."""
    held, meant = foreign_variables(Settings), misspelled_variables()
    return [
        name
        for name, setting in meant.items()
        if (setting == "DATABASE_URL" and _DSN.match(held[name].strip()))
        or setting == "DATABASE_URL_FILE"
    ]
