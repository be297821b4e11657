"""Ids as distinct types. Pure: no I/O."""

import uuid
from typing import NewType

RunId = NewType("RunId", uuid.UUID)
ClaimId = NewType("ClaimId", uuid.UUID)
"""One worker's taking of accounts; every write checks it."""
FetchId = NewType("FetchId", uuid.UUID)
"""One read of upstream, staged under it."""
WorkerId = NewType("WorkerId", uuid.UUID)
AccountId = NewType("AccountId", str)
"""An account as upstream names it."""
Login = NewType("Login", str)
"""An account's number on its platform, used again over time; digits, or any text."""
