"""Where the service listens: while callers are not authenticated, only where this machine alone
reaches it.
"""

import pytest

from app.errors import ConfigurationError
from app.web.server import require_loopback
from tests.support.commands import ROOT

_EVERYWHERE = "0.0.0.0"  # noqa: S104 - to be refused


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "::1"])
def test_a_loopback_address_is_listened_on(host: str) -> None:
    assert require_loopback(host, 0).startswith(("127.", "::1"))


@pytest.mark.parametrize(
    "host",
    [
        _EVERYWHERE,
        "",
        "::",
        "192.0.2.7",
        "10.0.0.1",
        "fe80::1",
        "2001:db8::1",
        "0",
        "::ffff:192.0.2.7",
    ],
)
def test_an_address_that_others_reach_is_refused_with_what_to_do(host: str) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"does not authenticate its callers: let it listen on 127\.0\.0\.1",
    ):
        require_loopback(host, 0)


@pytest.mark.parametrize("host", ["no such host", "a" * 300, "256.256.256.256", "\udc80"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="host is not known"):
        require_loopback(host, 0)


def test_the_image_listens_where_its_health_check_asks_and_nowhere_else() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert '"--host", "127.0.0.1"' in dockerfile
    assert "http://127.0.0.1:8000/healthz" in dockerfile
    assert _EVERYWHERE not in dockerfile
