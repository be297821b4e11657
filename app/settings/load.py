"""Reads the settings once, from the environment and `.env`."""

from pydantic import ValidationError
from pydantic_settings import SettingsError

from app.domain.wording.validation import RejectedValue
from app.errors import ConfigurationError
from app.settings.model import Settings
from app.settings.spelling import ENV_FILE
from app.settings.values import OWN_WORDS
from app.settings.variables import misspelled_variables, unknown_variables
from app.telemetry import get_logger, register_secret

_log = get_logger(__name__)


def load_settings() -> Settings:
    """The settings, their secrets kept out of logs.

    Raises ConfigurationError with each wrong variable and its rule, never its value.
    """
    try:
        settings = Settings(_env_file=ENV_FILE)
    except ValidationError as error:
        # `from None`: the cause quotes values.
        raise ConfigurationError(_sentence(error)) from None
    except (OSError, UnicodeDecodeError, SettingsError) as error:
        reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise ConfigurationError(
            f"The file .env in the working directory cannot be read{reason}. It must be a text file"
            " in UTF-8, which this user may read."
        ) from None
    for secret in settings.secrets():
        register_secret(secret)
    for name, meant in misspelled_variables().items():
        _log.warning(
            "A variable is no setting and was not read.",
            action="settings.misspelled",
            variable=name,
            perhaps_meant=meant,
        )
    for name in unknown_variables():
        _log.warning(
            "A variable begins like a setting, is none, and was not read.",
            action="settings.unknown",
            variable=name,
        )
    return settings


def _sentence(error: ValidationError) -> str:
    fields = {
        str(part.place[0]): part
        for part in map(
            RejectedValue.read,
            error.errors(include_url=False, include_context=False, include_input=False),
        )
    }
    rules = [
        f"{name.upper()} {part.message}"
        if part.kind == OWN_WORDS
        else f"{name.upper()} must be {Settings.model_fields[name].description}"
        for name, part in fields.items()
    ]
    return f"{'; '.join(rules)}. Correct it in the environment or in .env and start again."
