"""Planning: the fewest API requests that settle a batch's disagreements.

Entry points: `plan.plan_round`, `trial_requests.Trials`, `descent.needs_of`.

1. A level is planned only when the coarser ones need nothing.
2. A request proves whole slices: all logins of an account, every date named.
3. Estimates choose requests, never rows.
4. A batch takes at most `plan.MAX_ROUNDS` rounds.
"""
