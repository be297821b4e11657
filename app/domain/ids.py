"""Ids that travel between layers: each a UUID that cannot be mistaken for another. Pure: no I/O."""

import uuid
from typing import NewType

RunId = NewType("RunId", uuid.UUID)
ClaimId = NewType("ClaimId", uuid.UUID)
"""One taking of accounts by a worker process; every write checks it."""
FetchId = NewType("FetchId", uuid.UUID)
"""One read of upstream, whose rows wait in staging under it."""
WorkerId = NewType("WorkerId", uuid.UUID)
"""One worker process."""
