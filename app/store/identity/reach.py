"""The reach of identity statements: a whole sweep, or some accounts and keys."""

from dataclasses import dataclass

ACCOUNT_RANK = (
    "account_id <> md5(login || '|' || platform || '|' || broker), account_id = login, account_id"
)
"""Preferred placeholder of a natural key: this MD5, another spelling, the login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachSql:
    """Conditions with numbered parameters, named for the rows they select."""

    accounts: str
    """Rows of recon_identity, by account."""
    of_accounts: str
    """The same, of the row `i`."""
    into: str
    """INSERT that keeps changed keys; empty: they are returned."""
    validity_keys: str
    """Keys whose validity is rebuilt."""
    validity_today: str
    contested_keys: str
    """Keys of a holder `h`."""
    cleared_keys: str
    """Keys of findings to delete."""
    keys: str
    """Keys of rows to search."""
    logins: str
    """Logins of trades to search."""
    alien_keys: str
    """Keys of foreign metrics rows."""
    found_keys: str
    """Keys of a finding `f` to repair."""
    found_logins: str
    """Logins of trades `t` to repair."""
    metrics_holders: str
    """Metrics row `t` is under a placeholder."""
    of_suspects: str
    """Trades `t` of accounts in `suspects`, asked by account: their number is overestimated."""
    metrics_today: str


def _among(columns: str, first: int) -> str:
    """Condition on array parameters, numbered from `first`."""
    return (
        f"{columns} IN (SELECT * FROM unnest(${first}::text[], ${first + 1}::text[],"
        f" ${first + 2}::text[]))"
    )


EVERYWHERE = ReachSql(
    accounts="true",
    of_accounts="true",
    into="INSERT INTO recon_swept_keys ",
    validity_keys="recon_swept_keys",
    validity_today="$1::date",
    contested_keys="true",
    cleared_keys="true",
    keys="true",
    logins="true",
    alien_keys="true",
    found_keys="true",
    found_logins="true",
    metrics_holders="t.account_id = ANY($2::text[])",
    of_suspects="true",
    metrics_today="$3::date",
)
SOMEWHERE = ReachSql(
    accounts="account_id = ANY($1::text[])",
    of_accounts="i.account_id = ANY($1::text[])",
    into="",
    validity_keys="unnest($1::text[], $2::text[], $3::text[])",
    validity_today="$4::date",
    contested_keys=_among("(h.login, h.platform, h.broker)", 1),
    cleared_keys=_among("(login, platform, broker)", 1),
    keys=_among("(login, platform, broker)", 2),
    logins="login::text = ANY($2::text[])",
    alien_keys=_among("(login, platform, broker)", 3),
    found_keys=_among("(f.login, f.platform, f.broker)", 4),
    found_logins="t.login::text = ANY($4::text[])",
    metrics_holders="t.account_id = ANY($5::text[])",
    of_suspects="t.account_id = ANY(ARRAY(SELECT holder FROM suspects))",
    metrics_today="$6::date",
)
