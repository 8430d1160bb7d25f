# SPDX-License-Identifier: Apache-2.0
"""A small table with one entry per tensor id, for what the hardware measured of a tensor."""

from amaranth.hdl import Module, ShapeLike, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out, Signature

from respin.rtl.jobs import TENSOR_ID


class TablePort(Signature):
    """A user's way into a :class:`TensorTable`: one access in a cycle in which ``valid`` and ``ready`` are high.

    A write stores ``entry`` and sets or clears its ``entry_valid`` flag. A read shows both in ``read_entry`` and
    ``read_valid`` from the next cycle on, until the port's next read. ``error`` is high in the cycle after an access
    to an id that has no entry; such an access changes nothing and reads as invalid.
    """

    def __init__(self, shape: ShapeLike) -> None:
        super().__init__({
            "valid": Out(1),
            "ready": In(1),
            "write": Out(1),
            "id": Out(TENSOR_ID),
            "entry_valid": Out(1),
            "entry": Out(shape),
            "read_valid": In(1),
            "read_entry": In(shape),
            "error": In(1),
        })


class TensorTable(wiring.Component):
    """One entry per tensor id, valid only once it was written since reset.

    Accesses take one cycle, once the ``ids`` cycles after reset are over in which the table is cleared. Two ports
    share the memory; the owner's goes first, the host's waits for a cycle without.

    Parameters
    ----------
    shape:
        Shape of an entry.
    ids:
        Entries, a power of two; tensor ids at or past it are refused.

    Members
    -------
    owner : In(TablePort(shape))
        Always ready but for the cycles after reset.
    host : In(TablePort(shape))
        Saves and restores a task's trained state.

    Raises
    ------
    TypeError, ValueError
        For ``ids`` of the wrong type or out of range.
    """

    def __init__(self, *, shape: ShapeLike, ids: int) -> None:
        if not isinstance(ids, int) or isinstance(ids, bool):
            raise TypeError(f"ids must be an integer, not {ids!r}")
        if not 2 <= ids <= 1 << TENSOR_ID.width or ids & (ids - 1):
            raise ValueError(f"ids must be a power of two in 2..{1 << TENSOR_ID.width}, not {ids!r}")
        self._shape = shape
        self._ids = ids
        super().__init__({"owner": In(TablePort(shape)), "host": In(TablePort(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = (self._ids - 1).bit_length()
        content = data.StructLayout({"valid": 1, "entry": self._shape})
        m.submodules.entries = entries = memory.Memory(shape=content, depth=self._ids, init=[])
        store = entries.write_port()

        # A memory cannot be reset, so its flags are cleared one by one.
        clearing = Signal(range(self._ids + 1))
        cleared = clearing[bits]
        m.d.comb += [self.owner.ready.eq(cleared), self.host.ready.eq(cleared & ~self.owner.valid)]
        with m.If(~cleared):
            m.d.comb += [store.en.eq(1), store.addr.eq(clearing), store.data.valid.eq(0)]
            m.d.sync += clearing.eq(clearing + 1)

        for port in (self.owner, self.host):
            known = port.id >> bits == 0
            access = port.valid & port.ready
            load = entries.read_port()
            counts = Signal()
            m.d.comb += [
                load.addr.eq(port.id),
                load.en.eq(access & ~port.write),
                port.read_valid.eq(counts & load.data.valid),
                Value.cast(port.read_entry).eq(load.data.entry),
            ]
            m.d.sync += port.error.eq(access & ~known)
            with m.If(access & ~port.write):
                m.d.sync += counts.eq(known)
            with m.If(access & port.write & known):
                m.d.comb += [
                    store.en.eq(1),
                    store.addr.eq(port.id),
                    store.data.valid.eq(port.entry_valid),
                    store.data.entry.eq(port.entry),
                ]
        return m
