"""The list of what is accepted hides nothing: where there is more than it lists, it says how
many.
"""

import json
from pathlib import Path

from tests.conftest import Database
from tests.support.commands import run_command


async def test_the_list_of_what_is_accepted_tells_how_many_it_leaves_out(
    database: Database, tmp_path: Path
) -> None:
    env = {"DATABASE_URL": database.dsn}
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO trade_recon (account_id) SELECT 'a' || n FROM generate_series(1, 1005)"
            " AS n"
        )
        await connection.execute(
            "INSERT INTO recon_accepted_issues (account_id, type, reason, until, evidence, figures,"
            " seen, was_held) SELECT account_id, 'absent_upstream', 'known', current_date + 30,"
            " '{}', 'x', '', false FROM trade_recon"
        )
        # An account with two accepted issues counts for each.
        await connection.execute(
            "INSERT INTO recon_accepted_issues (account_id, type, reason, until, evidence, figures,"
            " seen, was_held) SELECT account_id, 'trade_count_mismatch', 'known', current_date +"
            " 30, '{}', 'x', '', false FROM trade_recon LIMIT 5"
        )
    shown = (await run_command(tmp_path, env, "accept", "--list")).stdout
    assert "1010 accepted issues, 1000 of them shown" in shown
    assert "10 more accepted issues are not shown." in shown
    listed = json.loads(
        (await run_command(tmp_path, env, "accept", "--list", "--format", "json")).stdout
    )
    assert (len(listed["accepted"]), listed["more"]) == (1000, 10)
