from __future__ import annotations

from mutualnet3d.results.trace import TracePoint, fraction_within
from mutualnet3d.shapes import SubnetConfig


def test_the_fraction_of_windows_within_a_time():
    times = (90.0, 100.0, 101.0, 500.0)
    trace = [TracePoint(0.1 * number, SubnetConfig(1.0, 48, 8), time, 1.0, 0) for number, time in enumerate(times)]
    assert fraction_within(trace, 100.0) == 0.5
    assert fraction_within(trace, 1e3) == 1.0
    assert fraction_within([], 100.0) == 0.0
