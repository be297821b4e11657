import random
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app.domain.contract.caps import Caps
from app.domain.wording.nearest import nearest
from app.dsn import Dsn
from app.errors import ConfigurationError
from app.settings.load import load_settings
from app.settings.model import Settings
from app.settings.variables import misnamed_databases, misspelled_variables, unknown_variables

_SECRET = "hunter2-tres-secret"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def _refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert refused.value.__cause__ is None
    return str(refused.value)


def test_without_any_variable_the_documented_defaults_hold() -> None:
    settings = load_settings()
    assert settings.database_url is None
    assert settings.recon_schema == "prop_trading_model"
    assert (
        settings.recon_batch_size,
        settings.recon_lease_seconds,
        settings.recon_account_timeout,
    ) == (5000, 60, 30)
    assert (
        settings.recon_outage_wait,
        settings.risk_api_rate,
        settings.risk_api_burst,
        settings.risk_api_max_ids,
    ) == (600, 15, 20, 100)


def test_the_environment_wins_over_the_env_file_and_unknown_keys_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "RECON_WORKERS=3\nRISK_API_RATE=0.5\nSOMETHING_ELSE=1\n", encoding="utf-8"
    )
    monkeypatch.setenv("RECON_WORKERS", "4")
    settings = load_settings()
    assert (settings.recon_workers, settings.risk_api_rate) == (4, 0.5)


def test_variables_that_are_nearly_settings_are_named_wherever_they_stand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "RECON_HISTORY_FRM=18\nRECON_WORKERS=2\nRECON_BATCHES=\n", encoding="utf-8"
    )
    for name in ("RISK_API_KEYY", "RECON_BATCHSIZE", "RECON_OF_SOMETHING_ELSE", "risk_api_rate"):
        monkeypatch.setenv(name, "1")
    assert misspelled_variables() == {
        "RECON_BATCHSIZE": "RECON_BATCH_SIZE",
        "RECON_HISTORY_FRM": "RECON_HISTORY_FROM",
        "RISK_API_KEYY": "RISK_API_KEY",
    }


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DATABASE_ULR", "DATABASE_URL"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("DATBASE_URL", "DATABASE_URL"),
        ("DATABASE_URLFILE", "DATABASE_URL_FILE"),
        ("RISKAPI_KEY", "RISK_API_KEY"),
        ("RISK_API_URL", "RISK_API_BASE_URL"),
        ("RECON_LEASE", "RECON_LEASE_SECONDS"),
        ("RECON_SIZE_BATCH", "RECON_BATCH_SIZE"),
        ("RECON-WORKERS", "RECON_WORKERS"),
    ],
)
def test_a_slip_in_the_name_of_a_setting_is_told_with_what_is_meant(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert misspelled_variables() == {name: meant}


def test_slips_of_the_pen_of_any_setting_are_found() -> None:
    random_ = random.Random(16)
    settings = [name.upper() for name in Settings.model_fields]
    for name in settings:
        at = random_.randrange(6, len(name) - 1)
        slips = [
            name[:at] + name[at + 1] + name[at] + name[at + 2 :],
            name[:at] + name[at + 1 :],
            name[:at] + name[at] + name[at:],
        ]
        for slip in slips:
            if slip not in settings:
                assert nearest(slip, settings, 0.85) == name, slip


def test_what_begins_like_a_setting_and_is_like_none_is_named_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (
        "RECON_OF_SOMETHING_ELSE",
        "RISK_API_COLOUR_SCHEME",
        "DATABASE_HOST",
        "RISKY",
        "HOME_DIR",
    ):
        monkeypatch.setenv(name, "1")
    assert unknown_variables() == ["RECON_OF_SOMETHING_ELSE", "RISK_API_COLOUR_SCHEME"]
    assert misspelled_variables() == {}


def test_a_variable_that_is_nearly_the_databases_and_holds_a_dsn_is_taken_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_ULR", "postgresql://h/db")
    monkeypatch.setenv("DATABASE_URIS", "of something else")
    assert misnamed_databases() == ["DATABASE_ULR"]


def test_a_missing_access_to_the_api_names_what_was_probably_meant_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RISK_API_KEYY", "k")
    with pytest.raises(ConfigurationError, match=r"RISK_API_KEYY is set: is RISK_API_KEY meant\?"):
        load_settings().require_upstream()


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n"])
def test_secrets_are_read_from_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: str
) -> None:
    (tmp_path / "key").write_text(f"{_SECRET}{ending}", encoding="utf-8")
    (tmp_path / "dsn").write_text(
        f"postgresql://u:{_SECRET}@h/db{ending}", encoding="utf-8", newline=""
    )
    (tmp_path / ".env").write_text(
        "RISK_API_BASE_URL=https://h/\nRISK_API_KEY_FILE=key\n", encoding="utf-8"
    )
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "dsn"))
    monkeypatch.setenv("DATABASE_DIRECT_URL_FILE", str(tmp_path / "dsn"))
    settings = load_settings()
    assert settings.require_upstream().key.get_secret_value() == _SECRET
    assert (
        settings.database_url
        == settings.database_direct_url
        == Dsn(SecretStr(f"postgresql://u:{_SECRET}@h/db"))
    )
    assert set(settings.secrets()) == {_SECRET}
    assert _SECRET not in repr(settings) + str(settings.model_dump())


@pytest.mark.parametrize("name", ["RISK_API_KEY", "DATABASE_URL", "DATABASE_DIRECT_URL"])
@pytest.mark.parametrize(
    "content", [None, b"", b"\n", b"\xff\xfe", f"{_SECRET} {_SECRET}".encode()]
)
def test_a_file_that_holds_no_such_secret_is_named_and_its_content_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: bytes | None
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    if name == "DATABASE_DIRECT_URL":
        monkeypatch.setenv("DATABASE_URL", "postgresql://h/db")
    sentence = _refusal(monkeypatch, **{f"{name}_FILE": str(file)})
    assert sentence.startswith(name)
    assert (content is not None and len(content) > 2) or f"{name}_FILE" in sentence
    assert _SECRET not in sentence


@pytest.mark.parametrize("name", ["RISK_API_KEY", "DATABASE_URL", "DATABASE_DIRECT_URL"])
def test_a_secret_and_its_file_are_not_both_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret").write_text(_SECRET, encoding="utf-8")
    sentence = _refusal(
        monkeypatch,
        **{name: f"postgresql://u:{_SECRET}@h/db", f"{name}_FILE": str(tmp_path / "secret")},
    )
    assert f"{name} and {name}_FILE are both set" in sentence
    assert _SECRET not in sentence


def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("RISK_API_RATE", "")
    settings = load_settings()
    assert settings.database_url is None
    assert settings.risk_api_rate == 15


def test_the_example_file_is_valid_and_names_every_variable(tmp_path: Path) -> None:
    example = (Path(__file__).parents[2] / ".env.example").read_text(encoding="utf-8")
    (tmp_path / ".env").write_text(example, encoding="utf-8")
    assert load_settings() == Settings()
    named = {
        line.partition("=")[0] for line in example.splitlines() if line and not line.startswith("#")
    }
    assert named == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://postgres:@/db?host=/dir",
        "postgres://u:p%40ss@h1:5432,h2:5433/db?sslmode=require",
        "postgresql:///db",
        "postgresql://",
    ],
)
def test_any_form_of_dsn_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn)
    assert load_settings().database_url == Dsn(SecretStr(dsn))


def test_a_dsn_that_leads_to_a_pooler_lets_no_statement_stay_prepared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h:6543/db?pgbouncer=true")
    monkeypatch.setenv("RECON_STATEMENT_CACHE", "100")
    assert load_settings().statement_cache == 0
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h:6543/db?statement_cache_size=500")
    assert load_settings().statement_cache == 100
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h:6543/db")
    assert load_settings().statement_cache == 100


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://root@host/db"),
        ("DATABASE_DIRECT_URL", "postgresql://host/db"),
        ("RECON_SCHEMA", "drop table"),
        ("RECON_SCHEMA", "1st"),
        ("RECON_SCHEMA", "x" * 64),
        ("RECON_SCHEMA", "schema\n"),
        ("RECON_SCHEMA", "pg_recon"),
        ("RECON_BATCH_SIZE", "0"),
        ("RECON_WORKERS", "two"),
        ("RECON_LEASE_SECONDS", "1"),
        ("RECON_ACCOUNT_TIMEOUT", "inf"),
        ("RECON_OUTAGE_WAIT", "-1"),
        ("RECON_SETTLE_HOURS", "nan"),
        ("RECON_DAY_ZONE", "Mars/Olympus"),
        ("RECON_DAY_ZONE", "America"),
        ("RECON_DAY_ZONE", "../etc/passwd"),
        ("RECON_STATEMENT_CACHE", "-1"),
        ("RECON_POOL_SIZE", "0"),
        ("RECON_WRITE_RATE", "0"),
        ("RECON_WRITE_RATE", "inf"),
        ("RECON_WRITE_RATE", "10000001"),
        ("RISK_API_BASE_URL", "ftp://host/"),
        ("RISK_API_BASE_URL", "https:///path"),
        ("RISK_API_BASE_URL", "https://host:99999/"),
        ("RISK_API_BASE_URL", "https://host:0/"),
        ("RISK_API_BASE_URL", "https://host/a b/"),
        ("RISK_API_BASE_URL", "https://[host/"),
        ("RISK_API_BASE_URL", "https://host/?a=1"),
        ("RISK_API_BASE_URL", "https://user:pass@host/"),
        ("RISK_API_KEY", "two\nlines"),
        ("RISK_API_KEY", "schlüssel"),
        ("RISK_API_RATE", "0"),
        ("RISK_API_RATE", "inf"),
        ("RISK_API_BURST", "0"),
        ("RISK_API_MAX_IDS", "0"),
        ("RISK_API_TIMEOUT", "nan"),
    ],
)
def test_a_wrong_value_stops_the_start_with_a_sentence_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert _refusal(monkeypatch, **{name: value}).startswith(f"{name} must be ")


def test_several_wrong_values_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = _refusal(monkeypatch, RECON_WORKERS="0", RISK_API_RATE="-1")
    assert (
        "RECON_WORKERS must be a whole number from 1 to 64; RISK_API_RATE must be a number"
        in sentence
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"mysql://u:{_SECRET}@h/db"),
        ("DATABASE_URL", f"postgresql://u:{_SECRET}@{_SECRET}@h/db"),
        ("DATABASE_URL", f"postgresql://u:{_SECRET}/{_SECRET}@h/db"),
        ("DATABASE_URL", f"postgresql://u:{_SECRET}@[h/db"),
        ("DATABASE_DIRECT_URL", f"postgresql://u:{_SECRET}@h/db"),
        ("RISK_API_KEY", f"{_SECRET} and more"),
        ("RISK_API_BASE_URL", f"https://u:{_SECRET}@h/"),
    ],
)
def test_a_refused_value_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert _SECRET not in _refusal(monkeypatch, **{name: value})


@pytest.mark.parametrize("pooled", ["postgresql://pooler/db", "mysql://pooler/db"])
def test_a_direct_way_stands_beside_the_pooled_one_and_is_as_strict(
    monkeypatch: pytest.MonkeyPatch, pooled: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", pooled)
    monkeypatch.setenv("DATABASE_DIRECT_URL", " postgresql://host/db")
    if pooled.startswith("mysql"):
        assert "DIRECT" not in _refusal(monkeypatch)
        return
    assert load_settings().database_direct_url == Dsn(SecretStr("postgresql://host/db"))
    assert _refusal(monkeypatch, DATABASE_DIRECT_URL="mysql://host/db").startswith(
        "DATABASE_DIRECT_URL must be "
    )


def test_no_write_rate_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().recon_write_rate is None
    monkeypatch.setenv("RECON_WRITE_RATE", "")
    assert load_settings().recon_write_rate is None
    monkeypatch.setenv("RECON_WRITE_RATE", "2500.5")
    assert load_settings().recon_write_rate == 2500.5


def test_secrets_are_not_in_repr_and_str(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{_SECRET}@h/db")
    monkeypatch.setenv("DATABASE_DIRECT_URL", f"postgresql://u@h/db?password=direct-{_SECRET}")
    monkeypatch.setenv("RISK_API_KEY", _SECRET)
    monkeypatch.setenv("RISK_API_BASE_URL", "https://h/")
    settings = load_settings()
    for shown in (
        repr(settings),
        str(settings),
        repr(settings.require_upstream()),
        str(settings.model_dump()),
    ):
        assert _SECRET not in shown
    assert set(settings.secrets()) - {""} == {_SECRET, f"direct-{_SECRET}"}


def test_the_base_url_ends_with_a_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISK_API_BASE_URL", " https://host/risk-analytics/firm/external ")
    assert load_settings().risk_api_base_url == "https://host/risk-analytics/firm/external/"


@pytest.mark.parametrize("missing", ["RISK_API_BASE_URL", "RISK_API_KEY"])
def test_a_missing_access_to_the_api_is_named_when_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name, value in {"RISK_API_BASE_URL": "https://h/", "RISK_API_KEY": "k"}.items():
        if name != missing:
            monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{missing} must be set"):
        load_settings().require_upstream()


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.recon_workers = 3  # type: ignore[misc]


def test_an_unreadable_env_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"RECON_SCHEMA=\xff\xfe\n")
    with pytest.raises(ConfigurationError, match=r"\.env"):
        load_settings()


def test_a_day_begins_in_the_zone_that_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECON_DAY_ZONE", "America/New_York")
    assert str(load_settings().day_zone) == "America/New_York"


def test_caps_are_read_from_the_environment_and_from_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("RECON_CAPS=rel_*=1000\n", encoding="utf-8")
    assert load_settings().recon_caps == Caps.read("rel_*=1000")
    monkeypatch.setenv("RECON_CAPS", "numeric(10,6)=9999.999999,rel_*=1000")
    assert load_settings().recon_caps == Caps.read("numeric(10,6)=9999.999999,rel_*=1000")
    assert "RECON_CAPS cannot be read" in _refusal(monkeypatch, RECON_CAPS="much")


@pytest.mark.parametrize("place", ["environment", ".env"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("RECON_HISTORY_FROM", value) for value in ("18", "6 months", "0", "auto", "2025-01-01")),
        *(
            ("RECON_CAPS", value)
            for value in ("rel_*=1000", "numeric(10,6)=9999.999999,rel_*=1000")
        ),
        *(
            ("RECON_MONEY", value)
            for value in (
                "auto",
                "off",
                "daily_hourly_net_profit",
                "daily_hourly_by_date,alltime_daily_total_lots",
            )
        ),
    ],
)
def test_whatever_the_documentation_offers_is_taken_as_it_is_written(
    place: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if place == "environment":
        monkeypatch.setenv(name, value)
    else:
        (tmp_path / ".env").write_text(f"{name}={value}\n", encoding="utf-8")
    assert getattr(load_settings(), name.lower()) is not None
