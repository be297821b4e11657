"""Planning: the fewest API requests that settle what the accounts of a batch disagree about.

Entry points: `plan.plan_round` for the next round of a batch, `trial_requests.Trials` for the
second shape before upstream is contradicted, `descent.needs_of` for one account.

1. A level is planned only when the coarser ones need nothing: alltime, daily, then hourly rows and
closed trades.
2. A request proves whole slices: all logins of an account, and every date that it names.
3. Estimates choose requests and never rows: what is asked is read to its end.
4. Planning ends: a batch takes at most `plan.MAX_ROUNDS` rounds.
"""
