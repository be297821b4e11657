"""How requests to one endpoint fare: what tells a request that is at fault from an endpoint that
answers nobody, or proves nothing.
"""

_MOST_IN_VAIN = 18
"""Looks that one read of few rows takes in vain at most: three readings of two pages, each looked
at three times.
"""


class Patience:
    """How many looks reads of an endpoint may still take at pages that do not fit.

    It is shared by all reads under way: where none comes to its end, a further look tells no more
    than the ones before.
    """

    __slots__ = ("_most", "_vain")

    def __init__(self, most: int = _MOST_IN_VAIN) -> None:
        """Allow so many looks in vain; with 0 each page is looked at once, and read once."""
        self._most = most
        self._vain = 0

    @property
    def is_left(self) -> bool:
        """Whether a page that does not fit may be looked at again."""
        return self._vain < self._most

    def spend(self, looks: int = 1) -> None:
        """A page did not fit, or a reading of pages that do came to nothing, which is as bad as so
        many looks.
        """
        self._vain += looks

    def regain(self) -> None:
        """A page fits."""
        self._vain = max(0, self._vain - 1)

    def restore(self) -> None:
        """A read came to its end."""
        self._vain = 0


class EndpointHealth:
    """Counts answers and reads that were proven whole, and the failures since the last of each; of
    requests, not of their attempts.
    """

    __slots__ = (
        "answers",
        "failures_in_a_row",
        "patience",
        "unproven",
        "unproven_in_a_row",
        "wholes",
    )

    def __init__(self) -> None:
        """Start without a request."""
        self.answers = 0
        self.failures_in_a_row = 0
        self.wholes = 0
        self.unproven = 0
        self.unproven_in_a_row = 0
        self.patience = Patience()

    def answered(self) -> None:
        """The endpoint answered a request."""
        self.answers += 1
        self.failures_in_a_row = 0

    def failed(self) -> None:
        """A request to the endpoint failed for good, though the API answers other requests."""
        self.failures_in_a_row += 1

    def note_whole(self) -> None:
        """A read of the endpoint was proven whole."""
        self.wholes += 1
        self.unproven_in_a_row = 0
        self.patience.restore()

    def note_unproven(self) -> None:
        """A read of the endpoint was answered to its end, and could not be proven whole."""
        self.unproven += 1
        self.unproven_in_a_row += 1
