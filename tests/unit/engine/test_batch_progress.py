"""How far batches are is told from what is known of their accounts, also while a batch ends and
lets go of them.
"""

import asyncio
import uuid
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from app.domain.accounts.counts import Totals
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.ids import AccountId
from app.engine.batch.batch_progress import BatchProgress
from app.store.claims.batch_progress import Progressed

_NOTHING = Totals(
    has_alltime=False,
    alltime=0,
    has_daily=False,
    daily=0,
    has_hourly=False,
    hourly=0,
    has_closed=False,
    closed=0,
)
_ACCOUNTS = 500


class _Figures:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[Mapping[uuid.UUID, Progressed]] = []

    async def note(self, _: uuid.UUID, figures: Mapping[uuid.UUID, Progressed]) -> None:
        self.told.append(dict(figures))


def _work(run_id: uuid.UUID) -> Any:  # noqa: ANN401 - as much of a batch as is looked at
    names = [f"acc-{number}" for number in range(_ACCOUNTS)]
    return SimpleNamespace(
        run=SimpleNamespace(run_id=run_id),
        progress={name: Progress() for name in names},
        views={name: AccountView(AccountId(name), _NOTHING) for name in names},
        gaps=frozenset(),
        requests=7,
        unattributed=SimpleNamespace(written=3),
    )


async def test_a_batch_that_ends_while_it_is_looked_through_breaks_nothing() -> None:
    figures, run_id = _Figures(), uuid.uuid4()
    under_way = BatchProgress(
        cast(
            "Any",
            SimpleNamespace(under_way=figures, claims=SimpleNamespace(worker_id=uuid.uuid4())),
        )
    )
    work = _work(run_id)

    async def let_go() -> None:
        work.views.clear()

    with under_way.working(work):
        await asyncio.gather(under_way.tell(), let_go())
    [told] = figures.told
    assert (told[run_id].accounts, told[run_id].requests, told[run_id].rows_written) == (
        _ACCOUNTS,
        7,
        3,
    )
    assert 0 < told[run_id].done < _ACCOUNTS
