"""How pytest-xdist shares the tests out: by file, since a file's tests share what is costly to
make, the longest first.

Left to itself it begins with the files of the most tests, and ends with one worker at a test of a
minute and the others idle.
"""

from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import pytest

LONGEST = (
    "tests/integration/faults/test_crashes.py",
    "tests/integration/adoption/",
    "tests/acceptance/",
    "tests/integration/test_",
    "tests/integration/cli/",
    "tests/integration/store/",
    "tests/integration/",
)
"""Beginnings of paths, in the order in which their tests begin; all others follow."""
_EACH_FUNCTION = (
    "tests/integration/faults/test_crashes.py",
    "tests/acceptance/test_demo.py",
    "tests/integration/faults/test_leftovers.py",
)
"""Files whose tests share nothing, and which would be the last to end if they stayed together."""
_EACH_TEST = ("tests/faults/test_matrix.py", "tests/integration/faults/test_run_faults.py")
"""Files whose tests share only what is made in a moment, and each of which takes seconds."""
_STORIES = {"test_heritage.py": "heritage", "test_partitions.py": "other partitions"}
"""Files of tests that look at one warehouse each of those of test_shapes.py: what takes long is to
let it happen.
"""


def scope(nodeid: str) -> str:
    """What stays together with a test: its file in most cases."""
    file, _, rest = nodeid.partition("::")
    if file in _EACH_TEST:
        return nodeid
    if file in _EACH_FUNCTION:
        return f"{file}::{rest.partition('[')[0]}"
    name = file.rpartition("/")[2]
    if name in _STORIES:
        return f"story of {_STORIES[name]}"
    if name == "test_shapes.py" and "[" in rest:
        shape = rest.partition("[")[2].rstrip("]")
        return (
            "story of"
            f" {next((known for known in _STORIES.values() if known in shape), shape.partition('-')[0])}"
        )
    return file


def rank(item: "pytest.Item") -> int:
    """The place of a test among `LONGEST`."""
    return next(
        (place for place, beginning in enumerate(LONGEST) if item.nodeid.startswith(beginning)),
        len(LONGEST),
    )


class LongestFirst(LoadScopeScheduling):  # type: ignore[misc]
    """Shares out what stays together, in the order in which the tests were collected."""

    def schedule(self) -> None:
        """Begin, or go on."""
        self.config.option.loadscopereorder = False
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)
