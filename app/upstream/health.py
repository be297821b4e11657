"""How requests to one endpoint fare: what tells a request that is at fault from an endpoint that answers nobody."""


class EndpointHealth:
    """Counts answers and reads that were proven whole, and the failures since the last of each; of requests, not of their attempts."""

    __slots__ = ("answers", "failures_in_a_row", "unproven_in_a_row", "wholes")

    def __init__(self) -> None:
        """Start without a request."""
        self.answers = 0
        self.failures_in_a_row = 0
        self.wholes = 0
        self.unproven_in_a_row = 0

    def answered(self) -> None:
        """The endpoint answered a request."""
        self.answers += 1
        self.failures_in_a_row = 0

    def failed(self) -> None:
        """A request to the endpoint failed for good, though the API answers other requests."""
        self.failures_in_a_row += 1

    def proved(self) -> None:
        """A read of the endpoint was proven whole."""
        self.wholes += 1
        self.unproven_in_a_row = 0

    def unproven(self) -> None:
        """A read of the endpoint was answered, and could not be proven whole."""
        self.unproven_in_a_row += 1
