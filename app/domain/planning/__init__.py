"""Planning: the fewest API requests for a batch.

Entry points: `plan.plan_round`, `trial_requests.Trials`, `descent.needs_of`.

1. A finer level waits until coarser ones need nothing.
2. A request proves whole slices: all logins, every date.
3. Estimates choose requests, never rows.
4. A batch takes at most `plan.MAX_ROUNDS` rounds.
"""
