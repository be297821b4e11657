"""Variables that are no settings, and the settings they nearly name."""

import os
from collections.abc import Mapping

from pydantic_settings import BaseSettings, DotEnvSettingsSource

from app.domain.wording.nearest import nearest

ENV_FILE = ".env"
PREFIXES = ("RECON_", "RISK_API_")
"""Names for trade-recon begin so."""
_NEARLY = 0.85
_NEARLY_WITH_PREFIX = 0.75


def misspelled(kind: type[BaseSettings]) -> dict[str, str]:
    """Misspelled variables of environment and `.env`, with the settings meant."""
    return {
        name: meant
        for name in sorted(foreign_variables(kind))
        if (meant := setting_like(name, kind)) is not None
    }


def setting_like(name: str, kind: type[BaseSettings]) -> str | None:
    """The setting of nearly this name."""
    is_ours = name.upper().startswith(PREFIXES)
    return nearest(
        name,
        [field.upper() for field in kind.model_fields],
        _NEARLY_WITH_PREFIX if is_ours else _NEARLY,
    )


def foreign_variables(kind: type[BaseSettings]) -> Mapping[str, str]:
    """Non-empty variables of environment and `.env` that are no settings."""
    ours = {name.upper() for name in kind.model_fields}
    known = {
        **DotEnvSettingsSource(
            kind, env_file=ENV_FILE, env_file_encoding="utf-8", case_sensitive=True
        ).env_vars,
        **os.environ,
    }
    return {name: value for name, value in known.items() if value and name.upper() not in ours}


def hint(values: Mapping[str, object], kind: type[BaseSettings]) -> str:
    """Variables set that may mean the missing ones."""
    missing = {name for name, value in values.items() if value is None}
    slips = [
        f"{name} is set: is {meant} meant?"
        for name, meant in misspelled(kind).items()
        if meant in missing
    ]
    return "".join(f" {slip}" for slip in slips)
