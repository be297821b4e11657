"""The tests of the tests' own order."""

import pytest

from tests.faults.scene import Fault
from tests.faults.steps import Step
from tests.support.scheduling import scope
from tests.support.warehouses.shapes import SHAPES

_ADOPTION = "tests/integration/adoption"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_what_looks_at_one_warehouse_stays_on_one_worker(shape: object) -> None:
    name = shape.name  # type: ignore[attr-defined]
    told = {scope(f"{_ADOPTION}/test_shapes.py::test_{number}[{name}]") for number in range(3)}
    assert len(told) == 1
    for file, begins in {
        "test_heritage.py": "heritage",
        "test_partitions.py": "other partitions",
    }.items():
        assert (scope(f"{_ADOPTION}/{file}::test_it") in told) == name.startswith(begins)


def test_shapes_are_told_on_different_workers() -> None:
    assert (
        len({scope(f"{_ADOPTION}/test_shapes.py::test_it[{shape.name}]") for shape in SHAPES})
        == len(SHAPES) - 1
    )


def test_cells_of_the_fault_matrix_are_played_on_different_workers() -> None:
    told = {
        scope(f"tests/faults/test_matrix.py::test_it[{step}-{fault}]")
        for step in Step
        for fault in Fault
    }
    assert len(told) == len(Step) * len(Fault)
