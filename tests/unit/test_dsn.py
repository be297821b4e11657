from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dsn import Dsn, DsnError


def _read(dsn: str) -> str:
    return Dsn.read(dsn).text.get_secret_value()


@pytest.mark.parametrize(
    ("written", "used", "left_out"),
    [
        (
            "sslmode=require&channel_binding=require",
            "?sslmode=require",
            ("channel_binding",),
        ),  # Neon
        ("pgbouncer=true&connection_limit=1", "", ("connection_limit",)),  # Supabase with Prisma
        ("schema=public", "", ("schema",)),  # Prisma
        (
            "connect_timeout=10&keepalives=1&keepalives_idle=30&tcp_user_timeout=9&gssencmode=disable",
            "",
            None,
        ),  # libpq
        ("options=endpoint%3Dep-cool-1", "?options=endpoint%3Dep-cool-1", ()),  # Neon without SNI
        ("ssl=true", "?sslmode=require", ()),  # JDBC, node-postgres
        ("sslaccept=strict", "?sslmode=verify-full", ()),  # Prisma
        ("sslmode=", "", ("sslmode",)),
        (
            "application_name=My%20App&search_path=a,b",
            "?application_name=My%20App&search_path=a,b",
            (),
        ),
    ],
)
def test_parameters_of_other_clients_are_acted_upon_or_left_out_and_named(
    written: str, used: str, left_out: tuple[str, ...] | None
) -> None:
    dsn = Dsn.read(f"postgresql://user:pass@host:6543/db?{written}")
    assert dsn.text.get_secret_value() == f"postgresql://user:pass@host:6543/db{used}"
    if left_out is not None:
        assert dsn.left_out == left_out


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("pgbouncer=true", 0),
        ("PgBouncer=True", 0),
        ("pgbouncer=false", None),
        ("prepareThreshold=0", 0),
        ("statement_cache_size=0", 0),
        ("prepared_statement_cache_size=40", 40),
        ("sslmode=require", None),
    ],
)
def test_what_says_that_a_pooler_stands_between_sets_how_many_statements_stay_prepared(
    written: str, kept: int | None
) -> None:
    assert Dsn.read(f"postgresql://user:pass@host/db?{written}").statement_cache == kept


@pytest.mark.parametrize("what", ["gssencmode=require", "replication=database"])
def test_what_cannot_be_met_is_refused_by_name(what: str) -> None:
    with pytest.raises(DsnError, match=what):
        _read(f"postgresql://user:pass@host/db?{what}")


@given(
    st.text(
        st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters=" "), min_size=1
    )
)
def test_any_password_works_once_it_is_encoded_and_is_known_as_a_secret(password: str) -> None:
    dsn = Dsn.read(
        f"postgresql://user:{quote(password, safe='')}@host:5432/db?channel_binding=prefer"
    )
    assert dsn.passwords == (password,)
    assert (
        password == "*"
        or password not in repr(dsn)
        or password in repr(Dsn.read("postgresql://u:x@host/db?channel_binding=prefer"))
    )


@pytest.mark.parametrize("sign", ["@", "/", "?", "#", "@@", "x@y/z", "1/2", "a?b@c", "5#6"])
@pytest.mark.parametrize("host", ["host", "host:5432", "[::1]:5432"])
def test_a_sign_of_the_password_that_ends_it_gets_a_hint_and_is_not_quoted(
    sign: str, host: str
) -> None:
    with pytest.raises(DsnError, match=r"write %40 for @|write %23") as refused:
        _read(f"postgresql://user:sec{sign}ret@{host}/db")
    assert "sec" not in str(refused.value).replace("second", "")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://localhost:5432/db?user=a@b&password=x",
        "postgresql://host/db?user=me@server",
        "postgresql://u:p:q@host/db",
        "postgresql://u:p%40q@host/db",
        "postgresql:///db?host=/tmp/x",
        "postgresql://[::1]/db?user=a@b",
    ],
)
def test_an_at_sign_where_it_belongs_is_no_mistake(dsn: str) -> None:
    _read(dsn)


def test_the_certificates_of_the_machine_are_used_where_libpq_would() -> None:
    assert "sslmode=verify-full" in _read("postgresql://u:p@host/db?sslrootcert=system")
