"""Tables keep the room of all columns, however long an account id is."""

import io

import pytest
from rich.console import Console

from app.cli.output.tables import id_cell, plain_table


@pytest.mark.parametrize("account_id", ["x" * 255, "[bold]" * 40, "acc-00001"])
def test_a_long_account_id_leaves_the_other_columns_their_room(account_id: str) -> None:
    table = plain_table("", "account", "status", "#alltime", "checked (UTC)", "issues")
    table.add_row(id_cell(account_id), "reconciled", "123456", "2026-03-10 08:00", "unsettled")
    text = io.StringIO()
    Console(file=text, width=150).print(table)
    for cell in ("reconciled", "123456", "2026-03-10 08:00", "unsettled"):
        assert cell in text.getvalue()
    ids = "".join(line.split("  ")[0].strip() for line in text.getvalue().splitlines()[1:])
    assert account_id in ids, "no character of the id is lost"
