"""Columns, types and rows as written to trade_recon."""

from collections.abc import Mapping, Sequence

STATE_TYPES: Mapping[str, tuple[str, ...]] = {
    "account_id": ("character varying", "text"),
    "issues": ("jsonb",),
    "reconciliation_status": ("character varying", "text"),
    "failed_attempts": ("integer", "bigint", "smallint"),
    "trades_recon_checksum": ("boolean",),
    "has_alltime": ("boolean",),
    "has_daily": ("boolean",),
    "has_hourly": ("boolean",),
    "has_raw_closed": ("boolean",),
    "num_trades_alltime": ("integer", "bigint", "numeric"),
    "num_trades_daily": ("integer", "bigint", "numeric"),
    "num_trades_hourly": ("integer", "bigint", "numeric"),
    "num_trades_raw_closed": ("integer", "bigint", "numeric"),
    "last_checked": ("timestamp with time zone", "timestamp without time zone"),
    "last_reconciled": ("timestamp with time zone", "timestamp without time zone"),
    "last_failed_attempt": ("timestamp with time zone", "timestamp without time zone"),
    "created_at": ("timestamp with time zone", "timestamp without time zone"),
    "mismatched_days": ("bigint", "integer"),
    "mismatched_money": ("bigint", "integer"),
    "next_attempt_at": ("timestamp with time zone",),
    "explained_as": ("text", "character varying"),
    "explained_times": ("integer", "bigint"),
    "ask_again_at": ("timestamp with time zone",),
    "claim_id": ("uuid",),
    "claimed_by": ("uuid",),
    "claimed_at": ("timestamp with time zone",),
    "whole_copy": ("bigint",),
}
"""Columns we write, and possible types, ours first."""

LONGEST_SIGNATURE = 64
"""Characters of explained_as."""
_TIME = "now"
_ISSUES = [{"type": "missing_daily", "severity": 1}]
_ROW: Mapping[str, object] = {
    **dict.fromkeys(
        ("has_alltime", "has_daily", "has_hourly", "has_raw_closed", "trades_recon_checksum"), False
    ),
    **{
        name: 0
        for name in STATE_TYPES
        if name.startswith("num_trades")
        or name in ("failed_attempts", "mismatched_days", "mismatched_money", "explained_times")
    },
    "issues": [],
    "created_at": _TIME,
    "reconciliation_status": "pending",
}
_HAS: Mapping[str, object] = {
    name: True if name.startswith("has_") else 4_000_000
    for name in STATE_TYPES
    if name.startswith(("has_", "num_trades"))
}
SAMPLES: Sequence[Mapping[str, object]] = (
    {**_ROW},
    {
        **_ROW,
        **_HAS,
        "trades_recon_checksum": True,
        "reconciliation_status": "reconciled",
        "last_checked": _TIME,
        "last_reconciled": _TIME,
    },
    {
        **_ROW,
        **_HAS,
        "num_trades_daily": 1,
        "mismatched_days": 3,
        "reconciliation_status": "needs_reconciliation",
        "issues": _ISSUES,
    },
    {
        **_ROW,
        "has_alltime": True,
        "reconciliation_status": "explained",
        "explained_as": "0" * LONGEST_SIGNATURE,
        "explained_times": 9,
    },
    *(
        {
            **_ROW,
            **_HAS,
            "failed_attempts": count,
            "last_failed_attempt": _TIME,
            "next_attempt_at": _TIME,
            "reconciliation_status": status,
        }
        for status, count in (
            ("failed", 1),
            ("failed", 4),
            ("exhausted", 5),
            ("exhausted", 30),
            ("exhausted", 400),
        )
    ),
)
"""Rows as written: new, equal, different, explained, failed."""
