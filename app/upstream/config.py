"""How the API is reached, and how hard it may be used."""

from dataclasses import dataclass

import httpx2
from pydantic import SecretStr

from app.errors import (
    ConfigurationError,
)


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """How to reach the API, and how hard it may be used.

    `rate` is requests a second, `burst` how many may go at once, `timeout` the total deadline of
    one request in seconds, `account_timeout` that of one which names a single account (several have
    as many times that, up to `timeout`), `outage_wait` the seconds that work waits for an API that
    answers nobody, `breaker_failures` the failures in a row that stop all requests for
    `breaker_seconds`, `concurrency` the requests under way at once, `max_ids` the ids that fit into
    one request; retries wait `retry_wait` seconds at first, doubling up to `longest_retry_wait`,
    and `retry_budget` of them may go out beyond those that successes pay for
    (app.upstream.resilience.retry_budget). A longer wait than `check_wait` that the API asks for is
    kept by everybody only if a probe is asked to wait, too. ConfigurationError: the address or
    the key cannot be used.
    """

    base_url: str
    api_key: SecretStr
    rate: float = 15.0
    burst: int = 20
    timeout: float = 120.0
    account_timeout: float = 30.0
    outage_wait: float = 600.0
    breaker_failures: int = 5
    breaker_seconds: float = 60.0
    concurrency: int = 8
    max_ids: int = 100
    retry_wait: float = 0.5
    longest_retry_wait: float = 20.0
    retry_budget: int = 60
    check_wait: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what would only fail at the first request, there with the key in the error's
        text.
        """
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
