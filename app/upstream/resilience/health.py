"""Tells a bad request from a failing endpoint."""

_MOST_IN_VAIN = 18
"""Three readings of two pages, three times."""


class Patience:
    """How many futile page reads an endpoint is granted.

    Shared by all its reads: where none completes, a further one tells nothing.
    """

    __slots__ = ("_most", "_vain")

    def __init__(self, most: int = _MOST_IN_VAIN) -> None:
        self._most = most
        self._vain = 0

    @property
    def is_left(self) -> bool:
        """Whether a page may be read again."""
        return self._vain < self._most

    def spend(self, looks: int = 1) -> None:
        """Count futile page reads."""
        self._vain += looks

    def regain(self) -> None:
        """Get one back, as a page fits."""
        self._vain = max(0, self._vain - 1)

    def restore(self) -> None:
        """Get all back, as a read was proven whole."""
        self._vain = 0


class EndpointHealth:
    """Counts answers, proven reads, and failures since."""

    __slots__ = (
        "answers",
        "failures_in_a_row",
        "patience",
        "unproven",
        "unproven_in_a_row",
        "wholes",
    )

    def __init__(self) -> None:
        self.answers = 0
        self.failures_in_a_row = 0
        self.wholes = 0
        self.unproven = 0
        self.unproven_in_a_row = 0
        self.patience = Patience()

    def answered(self) -> None:
        """A request was answered."""
        self.answers += 1
        self.failures_in_a_row = 0

    def failed(self) -> None:
        """A request failed for good."""
        self.failures_in_a_row += 1

    def note_whole(self) -> None:
        """A read was proven whole."""
        self.wholes += 1
        self.unproven_in_a_row = 0
        self.patience.restore()

    def note_unproven(self) -> None:
        """A read ended without proof."""
        self.unproven += 1
        self.unproven_in_a_row += 1
