"""The requests received."""

import time
from collections import Counter, deque
from dataclasses import dataclass, field

from app.domain.contract.tables import Endpoint
from app.sandbox.server.faults import FaultKind


@dataclass(slots=True)
class LoggedRequest:
    """`at` is monotonic; `status` 0: no response."""

    endpoint: Endpoint
    at: float
    target: str
    ids: tuple[str, ...] = ()
    skip: int = 0
    status: int = 0
    rows: int = 0
    fault: FaultKind | None = None


@dataclass(slots=True)
class RequestLog:
    """All requests since the start or `reset`."""

    requests: list[LoggedRequest] = field(default_factory=list)

    @property
    def counts(self) -> dict[Endpoint, int]:
        """Requests by endpoint."""
        counted = Counter(request.endpoint for request in self.requests)
        return {endpoint: counted[endpoint] for endpoint in Endpoint}

    @property
    def total(self) -> int:
        """All requests."""
        return len(self.requests)

    def ids(self, endpoint: Endpoint | None = None) -> frozenset[str]:
        """Requested account ids and logins."""
        return frozenset(
            asked
            for request in self.requests
            if endpoint in (None, request.endpoint)
            for asked in request.ids
        )

    def max_in_window(self, seconds: float) -> int:
        """The most within `seconds`."""
        window: deque[float] = deque()
        most = 0
        for request in self.requests:
            window.append(request.at)
            while window[0] <= request.at - seconds:
                window.popleft()
            most = max(most, len(window))
        return most

    def summary(self) -> dict[str, object]:
        """Figures for JSON."""
        return {
            "total": self.total,
            "counts": self.counts,
            "ids": {endpoint: sorted(self.ids(endpoint)) for endpoint in Endpoint},
            "max_in_second": self.max_in_window(1.0),
            "faults": Counter(
                request.fault for request in self.requests if request.fault is not None
            ),
        }

    def add(self, endpoint: Endpoint, target: str) -> LoggedRequest:
        """Log an arriving request."""
        request = LoggedRequest(endpoint, time.monotonic(), target)
        self.requests.append(request)
        return request

    def reset(self) -> None:
        """Forget all requests."""
        self.requests.clear()
