"""DSNs as hosters write them, as asyncpg and PostgreSQL take them. Pure: no I/O.

The server rejects parameters of libpq and other clients: here they are applied, or left out.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import SecretStr

_SCHEMES = ("postgresql", "postgres")
_LEFT_OUT = frozenset({
    # libpq's own: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
    "channel_binding", "client_encoding", "connect_timeout", "fallback_application_name",
    "gssdelegation", "gssencmode", "hostaddr",
    "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
    "load_balance_hosts", "max_protocol_version",
    "min_protocol_version", "require_auth", "requirepeer", "scram_client_key", "scram_server_key",
    "servicefile", "sslcertmode",
    "sslcompression", "sslcrldir", "sslkeylogfile", "sslsni", "tcp_user_timeout",
    # Of Prisma, Supabase, SQLAlchemy, JDBC and node-postgres:
    # https://www.prisma.io/docs/orm/overview/databases/postgresql
    "applicationname", "connection_limit", "currentschema", "max_idle_connection_lifetime",
    "pool_max_conns", "pool_mode", "pool_size",
    "pool_timeout", "schema", "socket_timeout", "sslidentity", "supa", "uselibpqcompat",
    "workaround",
})  # fmt: skip
_NO_CACHE = frozenset(
    {("pgbouncer", "true"), ("preparethreshold", "0"), ("prepare_threshold", "0")}
)
"""Marks of a pooler without prepared statements."""
_CACHE_SIZES = frozenset({"statement_cache_size", "prepared_statement_cache_size"})
_HARMLESS = frozenset({("pgbouncer", "false")})
_AS_SSLMODE: Mapping[tuple[str, str], str] = {
    ("ssl", "true"): "require",
    ("ssl", "1"): "require",
    ("ssl", "require"): "require",
    ("ssl", "false"): "prefer",
    ("ssl", "no-verify"): "require",
    ("requiressl", "1"): "require",
    ("requiressl", "0"): "prefer",
    ("sslaccept", "strict"): "verify-full",
    ("sslaccept", "accept_invalid_certs"): "require",
}
_UNMET: Mapping[tuple[str, str], str] = {
    ("gssencmode", "require"): "asks for encryption by Kerberos, which trade-recon does not know",
    ("replication", "database"): "asks for a replication connection",
    ("replication", "true"): "asks for a replication connection",
}
"""Demands that may not be ignored."""


class DsnError(ValueError):
    """Its message continues a sentence and quotes nothing of the DSN."""


@dataclass(frozen=True, slots=True)
class Dsn:
    """A DSN for asyncpg; `left_out` parameters have no effect.

    `statement_cache` is the DSN's limit of prepared statements, if any.
    """

    text: SecretStr
    statement_cache: int | None = None
    left_out: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> "Dsn":
        """Read a DSN as written; raises DsnError."""
        try:
            parts = urlsplit(text.strip())
        except ValueError:
            raise DsnError("has brackets around its host that do not match") from None
        if parts.scheme not in _SCHEMES:
            raise DsnError("must be a DSN that begins with postgresql://")
        _require_encoded(parts)
        kept: dict[str, str] = {}
        left_out: list[str] = []
        cache: int | None = None
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            lower, pair = name.lower(), (name.lower(), value.lower())
            if pair in _UNMET:
                raise DsnError(f"holds {name}={value}, which {_UNMET[pair]}: leave it out")
            if pair in _NO_CACHE:
                cache = 0
            elif lower in _CACHE_SIZES and value.isdecimal():
                cache = int(value)
            elif pair in _AS_SSLMODE:
                kept.setdefault("sslmode", _AS_SSLMODE[pair])
            elif pair == ("sslrootcert", "system"):
                kept |= _system_certificates()
            elif lower in _LEFT_OUT or pair in _HARMLESS or not value:
                left_out.append(name)
            else:
                kept[name] = value
        query = urlencode(kept, quote_via=quote, safe="/,")
        text = f"{parts.scheme}://{parts.netloc}{parts.path}{'?' if query else ''}{query}"
        return cls(SecretStr(text), cache, tuple(dict.fromkeys(left_out)))

    @property
    def place(self) -> str:
        """`host:port/database`, without credentials."""
        parts = urlsplit(self.text.get_secret_value())
        named = dict(parse_qsl(parts.query))
        hosts = unquote(parts.netloc.rpartition("@")[2]) or named.get("host", "")
        database = unquote(parts.path.removeprefix("/"))
        return f"{hosts}/{database or named.get('dbname', named.get('database', ''))}"

    @property
    def passwords(self) -> tuple[str, ...]:
        """Secrets in it."""
        parts = urlsplit(self.text.get_secret_value())
        named = [value for name, value in parse_qsl(parts.query) if name == "password"]
        return tuple(filter(None, [unquote(parts.password or ""), *named]))


def _require_encoded(parts: SplitResult) -> None:
    """Reject unencoded signs that end user or password."""
    before, _, port = parts.netloc.rpartition(":")
    is_no_port = bool(before) and not port.isdecimal() and not port.endswith("]")
    is_cut_short = "@" in parts.path + parts.fragment or (
        is_no_port and "@" not in parts.netloc and "@" in parts.query
    )
    if parts.netloc.count("@") > 1 or is_cut_short:
        raise DsnError(
            "has a sign in its user or password that ends them: write %40 for @, %2F for /, %3F for"
            " ?, %23 for # and %25 for % there"
        )
    if parts.fragment:
        raise DsnError("has a # in it: write %23")


def _system_certificates() -> dict[str, str]:
    """Parameters that mean what libpq's sslrootcert=system does, which also verifies the server's
    name.
    """
    file = ssl.get_default_verify_paths().cafile
    return {"sslmode": "verify-full"} | ({"sslrootcert": file} if file else {})
