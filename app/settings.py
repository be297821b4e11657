"""The settings: read once, at the start, from the environment and from `.env` in the working
directory.

Each field is the variable of the same name in upper case. A field's description is what its
variable may hold, in the words of the error that a wrong value gets.
"""

import os
import re
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
    SettingsError,
)

from app.domain.accounts.money import AUTO, MoneyMode
from app.domain.contract.caps import NO_CAPS, Caps
from app.domain.history import WHAT_IT_MAY_BE, HistoryFrom
from app.domain.wording.nearest import nearest
from app.dsn import Dsn, DsnError
from app.errors import ConfigurationError
from app.telemetry import get_logger, register_secret

_log = get_logger(__name__)
_ENV_FILE = ".env"
_DSN = re.compile(r"(postgres(ql)?(\+\w+)?|jdbc:postgresql)://", re.IGNORECASE)
_PREFIXES = ("RECON_", "RISK_API_")
"""Names that begin so are meant for trade-recon."""
_NEARLY = 0.85
_NEARLY_WITH_PREFIX = 0.75
"""How much of a name must be that of a setting, 1 being all of it, to be taken for a mistake in its
spelling.
"""
_OWN_WORDS = "own_words"
"""The type of an error whose message says what is wrong, and quotes nothing."""
_SCHEMA = re.compile(r"(?!pg_)[A-Za-z_][A-Za-z0-9_]{0,62}")


def _dsn(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    try:
        return Dsn.read(text) if isinstance(text, str) else text
    except DsnError as error:
        raise PydanticCustomError(_OWN_WORDS, "{said}", {"said": str(error)}) from None


def _caps(value: object) -> object:
    try:
        return Caps.read(value) if isinstance(value, str) else value
    except ConfigurationError as error:
        raise PydanticCustomError(
            _OWN_WORDS, "{said}", {"said": f"cannot be read: {error}"}
        ) from None


def _money(value: object) -> object:
    try:
        return MoneyMode.read(value) if isinstance(value, str) else value
    except ConfigurationError as error:
        raise PydanticCustomError(
            _OWN_WORDS, "{said}", {"said": f"cannot be read: {error}"}
        ) from None


def _history(value: object) -> object:
    try:
        return HistoryFrom.read(value) if isinstance(value, str) else value
    except ConfigurationError as error:
        raise PydanticCustomError(
            _OWN_WORDS, "{said}", {"said": f"cannot be read: {error}"}
        ) from None


def _or_from_file(value: object, others: ValidationInfo) -> object:
    """The value, or the content of the file that the variable with `_FILE` behind its name leads
    to.
    """
    name = (others.field_name or "").upper()
    file = others.data.get(f"{others.field_name}_file")
    if file is None:
        return value
    if value is not None:
        raise PydanticCustomError(
            _OWN_WORDS, "{said}", {"said": f"and {name}_FILE are both set: leave one of them out"}
        )
    try:
        text = Path(file).expanduser().read_text(encoding="utf-8-sig").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise PydanticCustomError(
            _OWN_WORDS,
            "{said}",
            {"said": f"cannot be read from {file}, which {name}_FILE names: {reason}"},
        ) from None
    if not text.strip():
        raise PydanticCustomError(
            _OWN_WORDS, "{said}", {"said": f"is empty in {file}, which {name}_FILE names"}
        )
    return text


def _beside_database_url(value: Dsn, others: ValidationInfo) -> Dsn:
    # A DATABASE_URL that was refused is missing here, and named by itself.
    if others.data.get("database_url", value) is None:
        raise ValueError
    return value


def _schema(value: str) -> str:
    if not _SCHEMA.fullmatch(value):
        raise ValueError
    return value


def _base_url(value: str) -> str:
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


def _header_value(value: SecretStr) -> SecretStr:
    key = value.get_secret_value()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError
    return value


def _zone(value: str) -> str:
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


_Stripped = BeforeValidator(_stripped)
_OrFromFile = BeforeValidator(_or_from_file)
_A_FILE = "the path of a file that holds the value"
_Seconds = Annotated[
    float,
    Field(
        gt=0,
        le=86_400,
        allow_inf_nan=False,
        description="a number of seconds above 0, at most 86400",
    ),
]


@dataclass(frozen=True, slots=True)
class UpstreamAccess:
    """Where the API is (the URL ends with `/`) and the key that it asks for."""

    base_url: str
    key: SecretStr


class Settings(BaseSettings):
    """What the environment says; secrets are never in its repr."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        env_file_encoding="utf-8",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
    )

    # Before the settings that they stand for: those are read from them.
    database_url_file: Path | None = Field(default=None, description=_A_FILE)
    database_direct_url_file: Path | None = Field(default=None, description=_A_FILE)
    risk_api_key_file: Path | None = Field(default=None, description=_A_FILE)
    database_url: Annotated[Annotated[Dsn, BeforeValidator(_dsn)] | None, _OrFromFile] = Field(
        default=None,
        validate_default=True,
        description="a DSN that begins with postgresql://, or unset for the embedded PostgreSQL",
    )
    database_direct_url: Annotated[
        Annotated[Dsn, BeforeValidator(_dsn), AfterValidator(_beside_database_url)] | None,
        _OrFromFile,
    ] = Field(
        default=None,
        validate_default=True,
        description=(
            "a DSN that begins with postgresql://, beside a DATABASE_URL to the same database, or"
            " unset"
        ),
    )
    recon_schema: Annotated[str, AfterValidator(_schema)] = Field(
        default="prop_trading_model",
        description=(
            "letters, digits and underscores, not beginning with a digit or pg_, at most 63"
        ),
    )
    recon_batch_size: int = Field(
        default=5000, ge=1, le=100_000, description="a whole number from 1 to 100000"
    )
    recon_workers: int = Field(default=2, ge=1, le=64, description="a whole number from 1 to 64")
    recon_lease_seconds: _Seconds = Field(
        default=60, ge=5, le=3600, description="a number of seconds from 5 to 3600"
    )
    recon_account_timeout: _Seconds = 30
    recon_outage_wait: float = Field(
        default=600, ge=0, le=86_400, description="a number of seconds from 0 to 86400"
    )
    recon_settle_hours: float = Field(
        default=24, ge=0, le=8760, description="a number of hours from 0 to 8760"
    )
    recon_day_zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="the name of a time zone, such as UTC or America/New_York"
    )
    recon_max_attempts: int = Field(
        default=5, ge=1, le=1000, description="a whole number from 1 to 1000"
    )
    recon_search_requests: int = Field(
        default=1000, ge=0, le=1_000_000, description="a whole number of requests from 0 to 1000000"
    )
    recon_changed_overlap: float = Field(
        default=3600, ge=0, le=604_800, description="a number of seconds from 0 to 604800"
    )
    recon_retention_days: int = Field(
        default=90, ge=1, le=36_500, description="a whole number of days from 1 to 36500"
    )
    recon_guard_rows: int = Field(
        default=500, ge=1, le=2**31 - 1, description="a whole number of rows above 0"
    )
    recon_guard_row_share: float = Field(
        default=0.2, ge=0, le=1, description="a part from 0 to 1, such as 0.2 for 20 %"
    )
    recon_guard_accounts: int = Field(
        default=5, ge=1, le=2**31 - 1, description="a whole number of accounts above 0"
    )
    recon_guard_account_share: float = Field(
        default=0.05, ge=0, le=1, description="a part from 0 to 1, such as 0.05 for 5 %"
    )
    recon_guard_run_rows: int = Field(
        default=500, ge=1, le=2**31 - 1, description="a whole number of rows above 0"
    )
    recon_guard_run_row_share: float = Field(
        default=0.2, ge=0, le=1, description="a part from 0 to 1, such as 0.2 for 20 %"
    )
    # No JSON: it is read as a whole.
    recon_caps: Annotated[Caps, NoDecode, BeforeValidator(_caps)] = Field(
        default=NO_CAPS, description="caps such as rel_*=1000"
    )
    recon_money: Annotated[MoneyMode, NoDecode, BeforeValidator(_money)] = Field(
        default=AUTO, description="auto, off or names of relations such as daily_hourly_net_profit"
    )
    recon_history_from: Annotated[HistoryFrom | None, NoDecode, BeforeValidator(_history)] = Field(
        default=None, description=WHAT_IT_MAY_BE
    )
    recon_data_dir: Path = Field(default=Path(".trade-recon"), description="the path of a folder")
    recon_embedded: bool = Field(default=False, description="true or false")
    recon_statement_cache: int = Field(
        default=100, ge=0, le=10_000, description="a whole number from 0 to 10000"
    )
    recon_pool_size: int = Field(
        default=10, ge=1, le=1000, description="a whole number from 1 to 1000"
    )
    recon_write_rate: float | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="a number of rows a second from 1 to 10000000, or unset for no limit",
    )

    risk_api_base_url: Annotated[str, _Stripped, AfterValidator(_base_url)] | None = Field(
        default=None, description="an http or https URL without user, query and fragment"
    )
    risk_api_key: Annotated[
        Annotated[SecretStr, _Stripped, AfterValidator(_header_value)] | None, _OrFromFile
    ] = Field(default=None, validate_default=True, description="visible ASCII characters")
    risk_api_rate: float = Field(
        default=15,
        ge=0.001,
        le=10_000,
        description="a number of requests a second from 0.001 to 10000",
    )
    risk_api_burst: int = Field(
        default=20, ge=1, le=10_000, description="a whole number from 1 to 10000"
    )
    risk_api_max_ids: int = Field(
        default=100, ge=1, le=1000, description="a whole number from 1 to 1000"
    )
    risk_api_timeout: _Seconds = 120
    risk_api_breaker_failures: int = Field(
        default=5, ge=1, le=1000, description="a whole number from 1 to 1000"
    )
    risk_api_breaker_seconds: _Seconds = 60

    @property
    def day_zone(self) -> zoneinfo.ZoneInfo:
        """The zone in which a day of the warehouse begins and ends."""
        return zoneinfo.ZoneInfo(self.recon_day_zone)

    @property
    def statement_cache(self) -> int:
        """How many prepared statements a connection keeps: as RECON_STATEMENT_CACHE says, or fewer
        where the DSN allows no more.
        """
        allowed = None if self.database_url is None else self.database_url.statement_cache
        return (
            self.recon_statement_cache
            if allowed is None
            else min(allowed, self.recon_statement_cache)
        )

    @property
    def has_upstream(self) -> bool:
        """Whether they name the API and its key."""
        return self.risk_api_base_url is not None and self.risk_api_key is not None

    def require_upstream(self) -> UpstreamAccess:
        """The access to the API; ConfigurationError names what is missing."""
        if self.risk_api_base_url is None or self.risk_api_key is None:
            values = {
                "RISK_API_BASE_URL": self.risk_api_base_url,
                "RISK_API_KEY": self.risk_api_key,
            }
            missing = " and ".join(name for name, value in values.items() if value is None)
            raise ConfigurationError(
                f"{missing} must be set, in the environment or in .env: otherwise the upstream API"
                f" cannot be asked.{_hint(values)} Nothing was changed."
            )
        return UpstreamAccess(self.risk_api_base_url, self.risk_api_key)

    def secrets(self) -> Iterable[str]:
        """The texts that must never be shown: the API key and the passwords of the DSNs."""
        if self.risk_api_key is not None:
            yield self.risk_api_key.get_secret_value()
        for dsn in (self.database_url, self.database_direct_url):
            if dsn is not None:
                yield from dsn.passwords


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
            Settings, env_file=_ENV_FILE, env_file_encoding="utf-8", case_sensitive=True
        ).env_vars,
        **os.environ,
    }
    return {name: value for name, value in known.items() if value and name.upper() not in ours}


def _hint(values: Mapping[str, object]) -> str:
    """What was probably meant to be one of the variables that are missing."""
    missing = {name for name, value in values.items() if value is None}
    slips = [
        f"{name} is set: is {meant} meant?"
        for name, meant in misspelled_variables().items()
        if meant in missing
    ]
    return "".join(f" {slip}" for slip in slips)


def load_settings() -> Settings:
    """Read the settings, and keep their secrets out of all later logs.

    Raises ConfigurationError with one sentence that names each wrong variable and what it may hold,
    never what it held.
    """
    try:
        settings = Settings(_env_file=_ENV_FILE)
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
        str(part["loc"][0]): part
        for part in error.errors(include_url=False, include_context=False, include_input=False)
    }
    rules = [
        f"{name.upper()} {part['msg']}"
        if part["type"] == _OWN_WORDS
        else f"{name.upper()} must be {Settings.model_fields[name].description}"
        for name, part in fields.items()
    ]
    return f"{'; '.join(rules)}. Correct it in the environment or in .env and start again."
