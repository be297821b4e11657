"""How requests to one endpoint fare: what tells a request that is at fault from an endpoint that answers nobody."""


class EndpointHealth:
    """Counts answers, and the failures since the last one; of requests, not of their attempts."""

    __slots__ = ("answers", "failures_in_a_row")

    def __init__(self) -> None:
        """Start without a request."""
        self.answers = 0
        self.failures_in_a_row = 0

    def answered(self) -> None:
        """The endpoint answered a request."""
        self.answers += 1
        self.failures_in_a_row = 0

    def failed(self) -> None:
        """A request to the endpoint failed for good, though the API answers other requests."""
        self.failures_in_a_row += 1
