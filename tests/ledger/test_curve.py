"""What is kept in memory of a trial's measurements."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sweeper.ledger.ledger import Curve, Point

scores = st.none() | st.floats(allow_nan=False)
points = st.builds(Point, st.integers(0, 2**53), scores, scores)


@given(st.lists(points))
def test_a_curve_gives_back_its_points(measured: list[Point]) -> None:
    curve = Curve()
    for point in measured:
        curve.append(point)
    assert list(curve) == measured
    assert len(curve) == len(measured)
    assert all(type(point.step) is int for point in curve)
