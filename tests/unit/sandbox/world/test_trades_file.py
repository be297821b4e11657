"""Worlds from files of trades."""

import datetime as dt
from pathlib import Path

import pytest

from app.domain.contract.tables import Endpoint
from app.errors import InvalidRequest
from app.sandbox.world.trades_file import REQUIRED
from app.sandbox.world.world import World

LINE = "a,007,8,3,1,10,11,2025-06-01,EURUSD,Buy,0.5,,1.1,2025-06-01T00:10:00Z,1.2,5.25,-1,0,0"


def write(folder: Path, *lines: str, header: str = ",".join(REQUIRED)) -> Path:
    path = folder / "trades.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_a_world_is_read_from_a_file_of_trades(tmp_path: Path) -> None:
    moved = LINE.replace(",8,3,1,10,11,2025-06-01,", ",8,4,1,12,13,2025-06-03,")
    world = World.from_csv(
        write(tmp_path, LINE + ",extra", moved + ",", header=",".join([*REQUIRED, "note"]))
    )
    assert world.natural_keys("a") == [("007", 8, 3), ("007", 8, 4)]
    assert (
        len(world.rows(Endpoint.CLOSED)),
        len(world.rows(Endpoint.DAILY)),
        len(world.rows(Endpoint.HOURLY)),
    ) == (2, 2, 2)
    assert world.rows(Endpoint.CLOSED)[0]["openTime"] is None
    assert world.today == dt.date(2025, 6, 3)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            LINE.replace("0.5,", "half,"),
            r"trades\.csv, line 2, column lots: 'half' is not a number",
        ),
        (LINE.replace("5.25", "NaN"), "column profit: 'NaN' is not a number"),
        (LINE.replace("Buy", "Hold"), "column side: 'Hold' is not Buy or Sell"),
        (
            LINE.replace("2025-06-01,", "2025-13-01,"),
            "column tradeDate: '2025-13-01' is not a date",
        ),
        (LINE.replace("a,007", ",007"), "column account_id: the value is missing"),
        (LINE.removesuffix(",0,0"), "column fee: the value is missing"),
        (LINE.replace("0.5,", "1e40,"), "column lots: lots times closePrice is too large"),
        (f"{LINE}\n{LINE}", "line 3, column ticket: the same trade as in line 2"),
    ],
)
def test_a_wrong_value_in_a_file_is_told_by_line_and_column(
    tmp_path: Path, wrong: str, told: str
) -> None:
    with pytest.raises(InvalidRequest, match=told):
        World.from_csv(write(tmp_path, wrong))


def test_a_missing_column_an_empty_file_and_no_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="line 1: the column swap is missing"):
        World.from_csv(write(tmp_path, LINE, header=",".join(REQUIRED[:-1])))
    with pytest.raises(InvalidRequest, match="holds no trades"):
        World.from_csv(write(tmp_path))
    with pytest.raises(InvalidRequest, match="cannot be read"):
        World.from_csv(tmp_path / "absent.csv")
