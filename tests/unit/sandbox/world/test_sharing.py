"""Accounts of a trades file that share a natural key at the same time are named as upstream's own
contradiction.
"""

from pathlib import Path

from app.sandbox.world.rows import Contradiction
from app.sandbox.world.world import World

_HEADER = (
    "account_id,login,platform,broker,mngr,position,ticket,tradeDate,stdSymbol,side,lots,openTime,openPrice,closeTime,closePrice,"
    "profit,commission,fee,swap"
)


def _trade(account_id: str, ticket: int, day: str) -> str:
    return f"{account_id},7,8,1,2,{ticket},{ticket},{day},EURUSD,Buy,1,,1.1,{day}T10:00:00Z,1.2,5,0,0,0"


def test_only_accounts_whose_days_overlap_under_one_key_contradict_each_other(
    tmp_path: Path,
) -> None:
    file = tmp_path / "trades.csv"
    lines = [
        _HEADER,
        _trade("a", 1, "2026-01-05"),
        _trade("b", 2, "2026-01-05"),
        _trade("later", 3, "2026-02-05"),
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert dict(World.from_csv(file).contradictions) == dict.fromkeys(
        ("a", "b"), Contradiction.SAME_NATURAL_KEY
    )
