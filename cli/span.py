# SPDX-License-Identifier: Apache-2.0
"""Times as people say them."""

from respin.sim.reliability import YEAR

_UNITS = (("years", YEAR), ("days", 86400.0), ("h", 3600.0))


def span(seconds: float) -> str:
    """Return a time with three digits, in years, days, hours or seconds: the largest of which there is one."""
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
