"""A number becomes what its column can hold, or NULL: at both ends of each type, with halves beside
them, and drawn at random.
"""

import random
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal, localcontext

import pytest

from app.store.schema.raw.columns import Column
from tests.conftest import Database

_WHOLE = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
_DECIMALS = ((5, 2), (18, 2), (10, 6), (18, 6), (4, 0), (2, 2), (38, 10))


def _near(end: Decimal, step: Decimal) -> Iterator[Decimal]:
    for number in (
        Decimal(-2),
        Decimal(-1),
        Decimal("-0.5001"),
        Decimal("-0.5"),
        Decimal("-0.4999"),
        Decimal(0),
    ):
        yield end + number * step
        yield end - number * step


def _cases(sql_type: str) -> Iterator[tuple[Decimal, Decimal | None]]:
    """Values, and what the column holds of them."""
    chance = random.Random(sql_type)
    if sql_type in _WHOLE:
        scale, low, high = 0, Decimal(-_WHOLE[sql_type]), Decimal(_WHOLE[sql_type] - 1)
    else:
        precision, scale = (int(part) for part in sql_type[8:-1].split(","))
        high = (Decimal(10) ** precision - 1).scaleb(-scale)
        low = -high
    step = Decimal(1).scaleb(-scale)
    for value in (
        *_near(low, step),
        *_near(high, step),
        *(
            Decimal(chance.randint(-(10**24), 10**24)).scaleb(-chance.randint(0, 22))
            for _ in range(40)
        ),
    ):
        rounded = value.quantize(step, ROUND_HALF_UP)
        yield value, rounded if low <= rounded <= high else None


@pytest.mark.parametrize(
    "sql_type", [*_WHOLE, *(f"numeric({precision},{scale})" for precision, scale in _DECIMALS)]
)
async def test_a_number_is_held_rounded_or_is_null(database: Database, sql_type: str) -> None:
    with localcontext(prec=80):
        cases = list(_cases(sql_type))
        expression = Column("c", "c", sql_type).converted("v")
        async with database.connect() as connection:
            rows = await connection.fetch(
                f"SELECT v, ({expression})::numeric AS held FROM unnest($1::numeric[]) WITH"
                " ORDINALITY AS u (v, n) ORDER BY n",
                [value for value, _ in cases],
            )
    wrong = [
        (value, row["held"], held)
        for (value, held), row in zip(cases, rows, strict=True)
        if row["held"] != held
    ]
    assert wrong == []


@pytest.mark.parametrize("sql_type", ["real", "double precision", "numeric"])
async def test_the_ends_of_inexact_types_are_held_and_nothing_fails(
    database: Database, sql_type: str
) -> None:
    expression = Column("c", "c", sql_type).converted("v")
    largest = {
        "real": "3.4028234663852886e38",
        "double precision": "1.7976931348623157e308",
        "numeric": "1e400",
    }[sql_type]
    values = [
        largest,
        f"-{largest}",
        "1e-400",
        "-1e-45",
        "NaN",
        "Infinity",
        "-Infinity",
        "3.5e38",
        "1.8e308",
        "0",
    ]
    async with database.connect() as connection:
        rows = await connection.fetch(
            f"SELECT v::text, ({expression}) IS NOT NULL AS is_held FROM"
            " unnest($1::text[]::numeric[]) AS v",
            values,
        )
    held = [row["is_held"] for row in rows]
    assert held[:4] == [True] * 4
    assert held[4:7] == [False] * 3
    assert held[9]
