"""The settings: each field is the variable of its name in upper case.

Descriptions end the errors about a variable. The engine and the client define their defaults.
"""

import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.domain.accounts.money import AUTO, MoneyMode
from app.domain.contract.caps import NO_CAPS, Caps
from app.domain.history import WHAT_IT_MAY_BE, HistoryFrom
from app.domain.holds.limits import HoldLimits
from app.dsn import Dsn
from app.engine.config import EngineConfig
from app.errors import ConfigurationError
from app.settings.spelling import hint
from app.settings.values import (
    A_FILE,
    OrFromFile,
    Seconds,
    Stripped,
    base_url,
    beside_database_url,
    header_value,
    reader,
    schema_name,
    zone_name,
)
from app.upstream.config import NO_UPSTREAM, UpstreamConfig

_ENGINE = EngineConfig()
_GUARD = HoldLimits()
_OF_ENGINE = (
    "batch_size",
    "workers",
    "lease_seconds",
    "account_timeout",
    "settle_hours",
    "day_zone",
    "max_attempts",
    "search_requests",
    "shared_read_bytes",
    "retention_days",
    "changed_overlap",
    "history_from",
)
_OF_GUARD = tuple(each.name for each in fields(HoldLimits))
_OF_API = ("rate", "burst", "timeout", "breaker_failures", "breaker_seconds", "max_ids")
_OF_WORK = ("account_timeout", "outage_wait")


@dataclass(frozen=True, slots=True)
class UpstreamAccess:
    """The API's URL (ends with `/`) and key."""

    base_url: str
    key: SecretStr


class Settings(BaseSettings):
    """The environment's settings; secrets are not in the repr."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        env_file_encoding="utf-8",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
    )

    # First, since the settings they stand for are read from them.
    database_url_file: Path | None = Field(default=None, description=A_FILE)
    database_direct_url_file: Path | None = Field(default=None, description=A_FILE)
    risk_api_key_file: Path | None = Field(default=None, description=A_FILE)
    database_url: Annotated[Annotated[Dsn, reader(Dsn.read, "")] | None, OrFromFile] = Field(
        default=None,
        validate_default=True,
        description="a DSN that begins with postgresql://, or unset for the embedded PostgreSQL",
    )
    database_direct_url: Annotated[
        Annotated[Dsn, reader(Dsn.read, ""), AfterValidator(beside_database_url)] | None,
        OrFromFile,
    ] = Field(
        default=None,
        validate_default=True,
        description=(
            "a DSN that begins with postgresql://, beside a DATABASE_URL to the same database, or"
            " unset"
        ),
    )
    recon_schema: Annotated[str, AfterValidator(schema_name)] = Field(
        default="prop_trading_model",
        description=(
            "letters, digits and underscores, not beginning with a digit or pg_, at most 63"
        ),
    )
    recon_batch_size: int = Field(
        default=_ENGINE.batch_size, ge=1, le=100_000, description="a whole number from 1 to 100000"
    )
    recon_workers: int = Field(
        default=_ENGINE.workers, ge=1, le=64, description="a whole number from 1 to 64"
    )
    recon_lease_seconds: Seconds = Field(
        default=_ENGINE.lease_seconds,
        ge=5,
        le=3600,
        description="a number of seconds from 5 to 3600",
    )
    recon_account_timeout: Seconds = _ENGINE.account_timeout
    recon_outage_wait: float = Field(
        default=NO_UPSTREAM.outage_wait,
        ge=0,
        le=86_400,
        description="a number of seconds from 0 to 86400",
    )
    recon_settle_hours: float = Field(
        default=_ENGINE.settle_hours, ge=0, le=8760, description="a number of hours from 0 to 8760"
    )
    recon_day_zone: Annotated[str, AfterValidator(zone_name)] = Field(
        default=_ENGINE.day_zone,
        description="the name of a time zone, such as UTC or America/New_York",
    )
    recon_max_attempts: int = Field(
        default=_ENGINE.max_attempts, ge=1, le=1000, description="a whole number from 1 to 1000"
    )
    recon_search_requests: int = Field(
        default=_ENGINE.search_requests,
        ge=0,
        le=1_000_000,
        description="a whole number of requests from 0 to 1000000",
    )
    recon_shared_read_bytes: int = Field(
        default=_ENGINE.shared_read_bytes,
        ge=0,
        le=10**15,
        description="a whole number of bytes from 0 to 1000000000000000; 0 shares no reads",
    )
    recon_changed_overlap: float = Field(
        default=_ENGINE.changed_overlap,
        ge=0,
        le=604_800,
        description="a number of seconds from 0 to 604800",
    )
    recon_retention_days: int = Field(
        default=_ENGINE.retention_days,
        ge=1,
        le=36_500,
        description="a whole number of days from 1 to 36500",
    )
    recon_guard_rows: int = Field(
        default=_GUARD.rows, ge=1, le=2**31 - 1, description="a whole number of rows above 0"
    )
    recon_guard_row_share: float = Field(
        default=_GUARD.row_share, ge=0, le=1, description="a part from 0 to 1, such as 0.2 for 20 %"
    )
    recon_guard_accounts: int = Field(
        default=_GUARD.accounts,
        ge=1,
        le=2**31 - 1,
        description="a whole number of accounts above 0",
    )
    recon_guard_account_share: float = Field(
        default=_GUARD.account_share,
        ge=0,
        le=1,
        description="a part from 0 to 1, such as 0.05 for 5 %",
    )
    recon_guard_run_rows: int = Field(
        default=_GUARD.run_rows, ge=1, le=2**31 - 1, description="a whole number of rows above 0"
    )
    recon_guard_run_row_share: float = Field(
        default=_GUARD.run_row_share,
        ge=0,
        le=1,
        description="a part from 0 to 1, such as 0.2 for 20 %",
    )
    # No JSON: it is read as a whole.
    recon_caps: Annotated[Caps, NoDecode, reader(Caps.read)] = Field(
        default=NO_CAPS, description="caps such as rel_*=1000"
    )
    recon_money: Annotated[MoneyMode, NoDecode, reader(MoneyMode.read)] = Field(
        default=AUTO, description="auto, off or names of relations such as daily_hourly_net_profit"
    )
    recon_history_from: Annotated[HistoryFrom | None, NoDecode, reader(HistoryFrom.read)] = Field(
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

    risk_api_base_url: Annotated[str, Stripped, AfterValidator(base_url)] | None = Field(
        default=None, description="an http or https URL without user, query and fragment"
    )
    risk_api_key: Annotated[
        Annotated[SecretStr, Stripped, AfterValidator(header_value)] | None, OrFromFile
    ] = Field(default=None, validate_default=True, description="visible ASCII characters")
    risk_api_rate: float = Field(
        default=NO_UPSTREAM.rate,
        ge=0.001,
        le=10_000,
        description="a number of requests a second from 0.001 to 10000",
    )
    risk_api_burst: int = Field(
        default=NO_UPSTREAM.burst, ge=1, le=10_000, description="a whole number from 1 to 10000"
    )
    risk_api_max_ids: int = Field(
        default=NO_UPSTREAM.max_ids, ge=1, le=1000, description="a whole number from 1 to 1000"
    )
    risk_api_timeout: Seconds = NO_UPSTREAM.timeout
    risk_api_breaker_failures: int = Field(
        default=NO_UPSTREAM.breaker_failures,
        ge=1,
        le=1000,
        description="a whole number from 1 to 1000",
    )
    risk_api_breaker_seconds: Seconds = NO_UPSTREAM.breaker_seconds

    @property
    def day_zone(self) -> zoneinfo.ZoneInfo:
        """The zone of the warehouse's days."""
        return zoneinfo.ZoneInfo(self.recon_day_zone)

    @property
    def statement_cache(self) -> int:
        """Prepared statements per connection; the DSN's limit may be lower."""
        allowed = None if self.database_url is None else self.database_url.statement_cache
        return (
            self.recon_statement_cache
            if allowed is None
            else min(allowed, self.recon_statement_cache)
        )

    def engine_config(self, grace_seconds: float) -> EngineConfig:
        """Fields of the same names."""
        named = {name: getattr(self, f"recon_{name}") for name in _OF_ENGINE}
        limits = {name: getattr(self, f"recon_guard_{name}") for name in _OF_GUARD}
        return EngineConfig(**named, guard=HoldLimits(**limits), grace_seconds=grace_seconds)

    def upstream_config(self) -> UpstreamConfig:
        """Fields of the same names; ConfigurationError without address or key."""
        access = self.require_upstream()
        limits = {name: getattr(self, f"risk_api_{name}") for name in _OF_API}
        waits = {name: getattr(self, f"recon_{name}") for name in _OF_WORK}
        return UpstreamConfig(access.base_url, access.key, **limits, **waits)

    @property
    def has_upstream(self) -> bool:
        """Whether address and key are set."""
        return self.risk_api_base_url is not None and self.risk_api_key is not None

    def require_upstream(self) -> UpstreamAccess:
        """The API's access; ConfigurationError names what is missing."""
        if self.risk_api_base_url is None or self.risk_api_key is None:
            values = {
                "RISK_API_BASE_URL": self.risk_api_base_url,
                "RISK_API_KEY": self.risk_api_key,
            }
            missing = " and ".join(name for name, value in values.items() if value is None)
            raise ConfigurationError(
                f"{missing} must be set, in the environment or in .env: otherwise the upstream API"
                f" cannot be asked.{hint(values, type(self))} Nothing was changed."
            )
        return UpstreamAccess(self.risk_api_base_url, self.risk_api_key)

    def secrets(self) -> Iterable[str]:
        """The API key and the DSNs' passwords."""
        if self.risk_api_key is not None:
            yield self.risk_api_key.get_secret_value()
        for dsn in (self.database_url, self.database_direct_url):
            if dsn is not None:
                yield from dsn.passwords
