"""How far the statements about identity reach: the whole warehouse, as a sweep has read it, or some
accounts and natural keys.
"""

from dataclasses import dataclass

ACCOUNT_RANK = (
    "account_id <> md5(login || '|' || platform || '|' || broker), account_id = login, account_id"
)
"""Which of the placeholders of a natural key is its account: the MD5 as it is written here, then
any other spelling, then the login.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachSql:
    """Conditions, whose parameters are numbered as each statement passes them."""

    accounts: str
    """A row of recon_identity is of the accounts $1."""
    of_accounts: str
    """The same of a row `i`."""
    into: str
    """Where changed natural keys are kept; empty: they are returned."""
    validity_keys: str
    """The natural keys whose validity is derived anew."""
    validity_today: str
    """Today, where validity is derived."""
    contested_keys: str
    """A holder `h` has one of the keys."""
    cleared_keys: str
    """A finding has one of the keys, before they are looked for again."""
    keys: str
    """A row that is looked for has one of the keys $2 to $4."""
    logins: str
    """A trade has one of the logins $2."""
    alien_keys: str
    """A foreign metrics row has one of the keys."""
    found_keys: str
    """A finding `f` that is repaired has one of the keys."""
    metrics_holders: str
    """A metrics row `t` stands under one of the ids that stand for unknown accounts."""
    metrics_today: str
    """Today, where such rows are looked for."""


def _among(columns: str, first: int) -> str:
    """The condition that a natural key is among three array parameters, the first of which is
    numbered `first`.
    """
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
    metrics_holders="t.account_id = ANY($2::text[])",
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
    metrics_holders="t.account_id = ANY($5::text[])",
    metrics_today="$6::date",
)
