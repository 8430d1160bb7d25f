# SPDX-License-Identifier: Apache-2.0
"""What the memory's upkeep and the host tell each other."""

from amaranth.hdl import unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature

from respin.rtl.mram.ports import ErrorRecord


class CareCounters(data.Struct):
    """What the memory did for itself; they wrap at 2^32. ``rows_scrubbed``: rows that the scrubber read.
    ``rows_repaired``: of these, those rewritten in place. ``rows_remapped``: rows given to a spare. ``scrub_late``:
    rows that fell due while the one before still waited."""

    rows_scrubbed: unsigned(32)
    rows_repaired: unsigned(32)
    rows_remapped: unsigned(32)
    scrub_late: unsigned(32)


class MemoryState(data.Struct):
    """``ready``: the spare map is loaded. ``marching``: the march test runs or is to. ``map_failed``: a copy of the map
    could not be written, no row is remapped any more. ``spares_low``: some bank has at most one free spare, or none
    where it has but one. ``spares_left``: free spares of all banks."""

    ready: unsigned(1)
    marching: unsigned(1)
    map_failed: unsigned(1)
    spares_low: unsigned(1)
    spares_left: unsigned(16)


class Upkeep(Signature):
    """The upkeep as the memory shows it.

    Members
    -------
    scrub_interval : In(32)
        Cycles between rows that fall due; 0 for no scrubbing.
    march : In(1)
        A pulse starts the march test, as soon as nobody uses the memory. It destroys all content.
    care : Out(CareCounters)
    state : Out(MemoryState)
    errors : Out(stream.Signature(ErrorRecord)), overflow : Out(1)
        The :class:`respin.rtl.mram.error_log.ErrorLog`.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "scrub_interval": In(32),
                "march": In(1),
                "care": Out(CareCounters),
                "state": Out(MemoryState),
                "errors": Out(stream.Signature(ErrorRecord)),
                "overflow": Out(1),
            }
        )
