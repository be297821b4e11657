"""The API's address, and limits on its use."""

from dataclasses import dataclass

import httpx2
from pydantic import SecretStr

from app.errors import (
    ConfigurationError,
)


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """Limits on the use of the API, in seconds and requests.

    `account_timeout` is for each account named; `outage_wait` bounds an outage; retries wait from
    `retry_wait`, doubling, `retry_budget` of them without successes. After `check_wait` of a wait
    that the API asks for, a probe checks it. ConfigurationError: unusable address or key.
    """

    base_url: str
    api_key: SecretStr
    rate: float = 15
    burst: int = 20
    timeout: float = 120
    account_timeout: float = 30
    outage_wait: float = 600
    breaker_failures: int = 5
    breaker_seconds: float = 60
    concurrency: int = 8
    max_ids: int = 100
    retry_wait: float = 0.5
    longest_retry_wait: float = 20.0
    retry_budget: int = 60
    check_wait: float = 5.0

    def __post_init__(self) -> None:
        """Reject unusable values early."""
        key = self.api_key.get_secret_value()
        if not key or not (key.isascii() and key.isprintable()) or key != key.strip():
            raise ConfigurationError(
                "RISK_API_KEY must be printable ASCII text without spaces around it."
            )
        try:
            url = httpx2.URL(self.base_url)
        except httpx2.InvalidURL as error:
            raise ConfigurationError(
                "RISK_API_BASE_URL is no address; it looks like"
                " https://HOST/risk-analytics/FIRM/external/."
            ) from error
        if (
            url.scheme not in {"http", "https"}
            or not url.host
            or url.userinfo
            or url.query
            or url.fragment
        ):
            raise ConfigurationError(
                "RISK_API_BASE_URL must be an http or https address with a host, without a user, a"
                " query or a fragment."
            )


NO_UPSTREAM = UpstreamConfig("http://upstream.invalid/", SecretStr("no-key-is-sent"))
"""For work without the API."""
