"""The sandbox's world; rows are cached until their account changes.

Mutations are synchronous: a page shows one moment.
"""

import datetime as dt
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from app.domain.contract.tables import METRICS, Endpoint
from app.errors import InvalidRequest
from app.sandbox.world.generation import Contradictions, Plan, generate
from app.sandbox.world.rows import AccountRows, Contradiction, Record
from app.sandbox.world.trades import Account, NaturalKey, Row, Trade, TradeKey, sharing_accounts
from app.sandbox.world.trades_file import accounts_of, read_trades

_KEPT_SELECTIONS = 64


class World:
    """Upstream's knowledge; tests change it."""

    def __init__(
        self,
        accounts: Iterable[Account],
        trades: Iterable[Trade],
        *,
        seed: int,
        today: dt.date,
        contradictions: Mapping[str, Contradiction] | None = None,
    ) -> None:
        """InvalidRequest: a doubled key, or no account."""
        self.today = today
        self._seed = seed
        self._contradictions = dict(contradictions or {})
        self._accounts = {account.account_id: account for account in accounts}
        self._trades: dict[str, dict[TradeKey, Trade]] = {
            account_id: {} for account_id in self._accounts
        }
        self._by_key: dict[TradeKey, Trade] = {}
        self._without_id: dict[Endpoint, set[str]] = {endpoint: set() for endpoint in METRICS}
        self._missed_by_id: dict[Endpoint, set[str]] = {endpoint: set() for endpoint in METRICS}
        self._forgotten_before: dict[str, dt.date] = {}
        self._records: dict[tuple[Endpoint, str], list[Record]] = {}
        self._selections: OrderedDict[object, Sequence[Record]] = OrderedDict()
        self._logins: dict[str, set[str]] = {}
        for account in self._accounts.values():
            for tenure in account.tenures:
                self._logins.setdefault(tenure.key.login, set()).add(account.account_id)
        self.add_trades(trades)

    @classmethod
    def from_csv(cls, path: Path, *, seed: int = 0) -> Self:
        """Of a file's trades; InvalidRequest."""
        trades = read_trades(path)
        if not trades:
            raise InvalidRequest(f"{path} holds no trades.")
        shared = dict.fromkeys(sharing_accounts(trades), Contradiction.SAME_NATURAL_KEY)
        return cls(
            accounts_of(trades),
            trades,
            seed=seed,
            today=max(trade.trade_date for trade in trades),
            contradictions=shared,
        )

    @classmethod
    def generate(
        cls,
        accounts: int,
        *,
        seed: int,
        today: dt.date,
        trades_per_account: int = 40,
        days: int = 60,
        contradictory: bool = True,
        contradictions: Contradictions | None = None,
    ) -> Self:
        """A made-up world (`generation.generate`) with `contradictions` (default: one each)."""
        made = generate(
            Plan(accounts, seed, today, trades_per_account, days),
            (contradictions or Contradictions()) if contradictory else None,
        )
        return cls(
            made.accounts, made.trades, seed=seed, today=today, contradictions=made.contradictions
        )

    @property
    def account_ids(self) -> list[str]:
        """All account ids, ascending."""
        return sorted(self._accounts)

    @property
    def contradictions(self) -> Mapping[str, Contradiction]:
        """Accounts about which upstream contradicts itself."""
        return {
            account_id: kind
            for account_id, kind in self._contradictions.items()
            if account_id in self._accounts
        }

    @property
    def without_id(self) -> frozenset[str]:
        """Accounts without an id at any level."""
        return frozenset(set.intersection(*self._without_id.values()))

    def missed_by_id(self, endpoint: Endpoint) -> frozenset[str]:
        """Not found by id."""
        return frozenset(self._missed_by_id.get(endpoint, ()))

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The world with other account ids."""
        accounts = [
            replace(account, account_id=names[account_id])
            for account_id, account in self._accounts.items()
        ]
        trades = [
            replace(trade, account_id=names[account_id])
            for account_id, held in self._trades.items()
            for trade in held.values()
        ]
        kinds = {names[account_id]: kind for account_id, kind in self.contradictions.items()}
        return type(self)(accounts, trades, seed=self._seed, today=self.today, contradictions=kinds)

    def hide_id(self, account_id: str, *endpoints: Endpoint, findable: bool = False) -> None:
        """Send null for the id at these levels; `findable`: requests by id still work. KeyError."""
        for endpoint in endpoints or METRICS:
            self._without_id[endpoint].add(self._accounts[account_id].account_id)
            if not findable:
                self._missed_by_id[endpoint].add(account_id)
        self._changed(account_id)

    def reveal_id(self, account_id: str) -> None:
        """Send the account's id again."""
        for hidden in (*self._without_id.values(), *self._missed_by_id.values()):
            hidden.discard(account_id)
        self._changed(account_id)

    def natural_keys(self, account_id: str) -> list[NaturalKey]:
        """Its natural keys, oldest first; KeyError."""
        return [tenure.key for tenure in self._accounts[account_id].tenures]

    def account(self, account_id: str) -> Account:
        """The account; KeyError."""
        return self._accounts[account_id]

    def trades(self, account_id: str) -> list[Trade]:
        """Its trades; KeyError."""
        return list(self._trades[account_id].values())

    def owner_of_trade(self, row: Row) -> str:
        """The account of a trade row; KeyError."""
        digits = str(row["tradeDate"]).replace("-", "")[:8]
        key = TradeKey(
            str(row["login"]),
            int(str(row["platform"])),
            int(str(row["broker"])),
            str(row["position"]),
            str(row["ticket"]),
            dt.datetime.strptime(digits, "%Y%m%d").replace(tzinfo=dt.UTC).date(),
        )
        return self._by_key[key].account_id

    def rows(self, endpoint: Endpoint) -> list[Row]:
        """Rows in key order, shared: do not change them."""
        return [record.row for record in self.records(endpoint)]

    def records(self, endpoint: Endpoint, account_ids: Iterable[str] | None = None) -> list[Record]:
        """Records in key order."""
        wanted = (
            self._accounts
            if account_ids is None
            else sorted({account_id for account_id in account_ids if account_id in self._accounts})
        )
        found = [
            record for account_id in wanted for record in self._of_account(endpoint, account_id)
        ]
        found.sort(key=lambda record: record.key)
        return found

    def select(self, token: object, choose: Callable[[], Sequence[Record]]) -> Sequence[Record]:
        """What `choose` gives, cached under `token` until the world changes."""
        if token not in self._selections:
            self._selections[token] = choose()
            if len(self._selections) > _KEPT_SELECTIONS:
                self._selections.popitem(last=False)
        return self._selections[token]

    def holders(self, login: str) -> set[str]:
        """Present and past holders of `login`."""
        return self._logins.get(login, set())

    def forget(self, account_id: str, before: dt.date | None = None) -> None:
        """Forget an account, or its rows before a date, which alltime still counts; KeyError."""
        account = self._accounts[account_id]
        if before is None:
            del self._accounts[account_id]
            for key in self._trades.pop(account_id):
                del self._by_key[key]
            for tenure in account.tenures:
                self._logins[tenure.key.login].discard(account_id)
        else:
            self._forgotten_before[account_id] = max(
                before, self._forgotten_before.get(account_id, before)
            )
        self._changed(account_id)

    def add_trades(self, trades: Iterable[Trade]) -> None:
        """All, or none with InvalidRequest."""
        added: dict[TradeKey, Trade] = {}
        for trade in trades:
            if trade.account_id not in self._accounts:
                raise InvalidRequest(
                    f"The sandbox has no account {trade.account_id}; no trade was added."
                )
            if trade.trade_key in self._by_key or trade.trade_key in added:
                raise InvalidRequest(
                    f"The sandbox has the trade {trade.position}/{trade.ticket} of login"
                    f" {trade.key.login} already; no trade was added."
                )
            added[trade.trade_key] = trade
        self._by_key.update(added)
        for key, trade in added.items():
            self._trades[trade.account_id][key] = trade
            self._logins.setdefault(key.login, set()).add(trade.account_id)
        for account_id in {trade.account_id for trade in added.values()}:
            self._changed(account_id)

    def remove_trade(self, trade: Trade) -> None:
        """Remove `trade` from every level; KeyError."""
        del self._by_key[trade.trade_key]
        del self._trades[trade.account_id][trade.trade_key]
        self._changed(trade.account_id)

    def _changed(self, account_id: str) -> None:
        self._selections.clear()
        for endpoint in Endpoint:
            self._records.pop((endpoint, account_id), None)

    def _of_account(self, endpoint: Endpoint, account_id: str) -> list[Record]:
        found = self._records.get((endpoint, account_id))
        if found is None:
            maker = AccountRows(
                self._accounts[account_id],
                list(self._trades[account_id].values()),
                seed=self._seed,
                today=self.today,
                forgotten_before=self._forgotten_before.get(account_id, dt.date.min),
                contradiction=self._contradictions.get(account_id),
                without_id=frozenset(
                    each for each, hidden in self._without_id.items() if account_id in hidden
                ),
            )
            for each in Endpoint:
                if (each, account_id) not in self._records and each.is_trades == endpoint.is_trades:
                    self._records[each, account_id] = maker.records(each)
            found = self._records[endpoint, account_id]
        return found
