"""Repositories of one database and process."""

import datetime as dt
import uuid
from dataclasses import dataclass, replace

from app.domain.accounts.money import AUTO, MoneyMode
from app.domain.contract.caps import NO_CAPS, Caps
from app.domain.ids import WorkerId
from app.errors import ConfigurationError
from app.store.apply.apply import Applier
from app.store.apply.comparison import RowComparison
from app.store.apply.received_rows import OtherRows
from app.store.change_feed import ChangeFeed
from app.store.claims.batch_progress import UnderWayFigures
from app.store.claims.claims import Claims
from app.store.database.pool import Database
from app.store.database.window import Window
from app.store.detect.account_lists import AccountLists
from app.store.detect.accounts import Detection
from app.store.detect.audit import Scans
from app.store.detect.inspections import Inspections
from app.store.detect.money.terms import MoneyTerms
from app.store.detect.open_trades import OpenTrades
from app.store.detect.recent import Touched
from app.store.detect.scan_ids import ScanIds
from app.store.detect.sweep import Sweep
from app.store.identity.identity import Identity
from app.store.identity.upstream_holders import UpstreamHolders
from app.store.report.account_reader import AccountReader
from app.store.report.report import Reports
from app.store.results.acceptances import Acceptances
from app.store.results.issue_history import IssueHistory
from app.store.results.results import Results
from app.store.runs.active_runs import ActiveRuns
from app.store.runs.control import RunControl
from app.store.runs.leftovers import RunLeftovers
from app.store.runs.lifecycle import Runs
from app.store.runs.orders import Orders
from app.store.runs.reader import RunReader
from app.store.runs.retention import Retention
from app.store.runs.run_queue import Preparations
from app.store.runs.waits import RunWaits
from app.store.schema.history import Histories
from app.store.schema.introspect import Survey, survey
from app.store.schema.preflight import require, require_tables
from app.store.schema.raw.catalogue import Catalogue
from app.store.staging.shared_reads import SharedReadStore
from app.store.staging.staging import Staging
from app.store.write_pace import WritePace

_MOST_WINDOWS = 4
"""Windows kept."""


@dataclass(frozen=True, slots=True)
class Repositories:
    """The repositories, for a window of dates."""

    database: Database
    catalogue: Catalogue
    detection: Detection
    account_lists: AccountLists
    identity: Identity
    sweep: Sweep
    holders: UpstreamHolders
    touched: Touched
    staging: Staging
    shared_reads: SharedReadStore
    applier: Applier
    others: OtherRows
    comparison: RowComparison
    claims: Claims
    runs: Runs
    active_runs: ActiveRuns
    run_reader: RunReader
    results: Results
    issue_history: IssueHistory
    control: RunControl
    preparations: Preparations
    retention: Retention
    scans: Scans
    scan_ids: ScanIds
    reports: Reports
    account_reader: AccountReader
    feed: ChangeFeed
    open_trades: OpenTrades
    caps: Caps
    histories: Histories
    pace: WritePace
    orders: Orders
    waits: RunWaits
    under_way: UnderWayFigures
    leftovers: RunLeftovers
    acceptances: Acceptances
    inspections: Inspections
    money: MoneyTerms
    windows: "dict[Window, Repositories]"

    @classmethod
    async def build(
        cls,
        database: Database,
        lease_seconds: float,
        write_rate: float | None = None,
        caps: Caps = NO_CAPS,
        *,
        money: MoneyMode = AUTO,
        only_reads: bool = False,
    ) -> "Repositories":
        """Survey the warehouse and prepare statements.

        `write_rate` limits raw rows a second; ingestion cuts values at `caps`; `only_reads` needs
        SELECT alone. Raises ConfigurationError with every obstacle.
        """
        worker_id = WorkerId(uuid.uuid4())
        found = await (_require_tables if only_reads else _require_fit)(database)
        catalogue = await Catalogue.read(database, found, caps)
        feed, pace = ChangeFeed(database), WritePace(write_rate)
        preparations = Preparations(database, worker_id, lease_seconds)
        identity = Identity(database, catalogue, feed, pace)
        terms = await MoneyTerms.read(money, catalogue, database)
        return cls(
            database,
            catalogue,
            Detection(database, terms),
            AccountLists(database),
            identity,
            Sweep(database, catalogue, identity, terms),
            UpstreamHolders(database, catalogue, preparations),
            Touched(database, catalogue),
            Staging(database, catalogue, worker_id),
            SharedReadStore(database, catalogue, worker_id, lease_seconds),
            Applier(database, catalogue, feed, pace),
            OtherRows(database, catalogue, feed, pace),
            RowComparison(database, catalogue),
            Claims(database, worker_id, lease_seconds),
            Runs(database),
            ActiveRuns(database),
            RunReader(database),
            Results(database),
            IssueHistory(database),
            RunControl(database),
            preparations,
            Retention(database),
            Scans(database, catalogue, preparations),
            ScanIds(database, preparations),
            Reports(database),
            AccountReader(database),
            feed,
            OpenTrades(database, catalogue),
            caps,
            Histories(database),
            pace,
            Orders(database),
            RunWaits(database),
            UnderWayFigures(database, lease_seconds),
            RunLeftovers(database),
            Acceptances(database),
            Inspections(database, lease_seconds),
            terms,
            {},
        )

    def within(self, first: dt.date | None) -> "Repositories":
        """The repositories for dates from `first` on (None: all)."""
        window = Window(first)
        if window == self.applier.window:
            return self
        if window not in self.windows:
            if len(self.windows) >= _MOST_WINDOWS:
                self.windows.clear()
            database, catalogue = self.database, self.catalogue
            identity = Identity(database, catalogue, self.feed, self.pace, window)
            self.windows[window] = replace(
                self,
                detection=Detection(database, self.money, window),
                account_lists=AccountLists(database, window),
                identity=identity,
                sweep=Sweep(database, catalogue, identity, self.money, window),
                applier=Applier(database, catalogue, self.feed, self.pace, window),
                others=OtherRows(database, catalogue, self.feed, self.pace, window),
                comparison=RowComparison(database, catalogue, window),
                scans=Scans(database, catalogue, self.preparations, window),
            )
        return self.windows[window]

    async def require_fit(self) -> None:
        """Check rights, policies and columns.

        Raises ConfigurationError with every obstacle.
        """
        catalogue = await Catalogue.read(
            self.database, await _require_fit(self.database), self.caps
        )
        if not catalogue.is_like(self.catalogue):
            raise ConfigurationError(
                "The raw tables have other columns, keys, checks or triggers than when this process"
                " began: restart it. Nothing was changed."
            )


async def _require_tables(database: Database) -> Survey:
    found = await survey(database, database.schema)
    require_tables(found)
    return found


async def _require_fit(database: Database) -> Survey:
    found = await survey(database, database.schema)
    require(found, database.schema, before_migration=False)
    return found
