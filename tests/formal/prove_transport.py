# SPDX-License-Identifier: Apache-2.0
"""Queues and buffers: nothing is lost, nothing comes twice, the order stays.

One value, any one that goes in, is watched: it comes out after as many as were before it, unchanged, and nothing
comes out of what is empty. In what is not empty something is on offer after its latency.
"""

from functools import partial

from amaranth.hdl import Module, Signal, Value
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import Component, In, Out
from catalogue import Break, Proof
from design import find
from engine import Harness

from respin.rtl.sequencer.transfer_queue import MOST_PENDING


def keeps_order(
    m: Module, *, put: Value, item: Value, got: Value, out: Value, offered: Value, mark: Value, room: int, latency: int
):
    """``put``: ``item`` goes in; ``got``: ``out`` comes out; ``offered``: something may be taken.

    ``room``: how much it holds, ``latency``: of a value that goes into what is empty, in cycles.
    """
    level = Signal(range(room + 2))
    m.d.sync += level.eq(level + put - got)
    idle = Signal(range(latency + 1))
    with m.If((level == 0) | offered):
        m.d.sync += idle.eq(0)
    with m.Elif(idle != latency):
        m.d.sync += idle.eq(idle + 1)
    watched, ahead, kept = Signal(), Signal.like(level), Signal(len(item))
    with m.If(put & mark & ~watched):
        m.d.sync += [watched.eq(1), ahead.eq(level - got), kept.eq(item)]
    with m.Elif(got & watched):
        m.d.sync += [ahead.eq(ahead - 1), watched.eq(ahead != 0)]
    yield got & (level == 0)
    yield level > room
    yield watched & (ahead == 0) & offered & (out != kept)
    yield (level != 0) & ~offered & (idle == latency)


def stream_in_order(m: Module, dut: Component, *, room: int, latency: int, source: str, sink: str, mark: Signal):
    i, o = getattr(dut, source), getattr(dut, sink)
    yield from keeps_order(
        m, put=i.valid & i.ready, item=_bits(i.payload), got=o.valid & o.ready, out=_bits(o.payload), offered=o.valid,
        mark=mark, room=room, latency=latency,
    )  # fmt: skip


def _bits(value: object) -> Value:
    return Value.cast(value)


def beats_read_in_order(m: Module, dut: Component, *, mark: Signal):
    axi, data = dut.axi, dut.data
    yield from keeps_order(
        m, put=axi.rvalid & axi.rready & ~dut.timed_out, item=axi.rdata, got=data.valid & data.ready,
        out=data.payload.data, offered=data.valid, mark=mark, room=2, latency=0,
    )  # fmt: skip


def beats_written_in_order(m: Module, dut: Component, *, mark: Signal):
    axi, data = dut.axi, dut.data
    writes = axi.wvalid & axi.wstrb.all()
    yield from keeps_order(
        m, put=data.valid & data.ready, item=data.payload, got=writes & axi.wready, out=axi.wdata, offered=writes,
        mark=mark, room=2, latency=0,
    )  # fmt: skip
    yield axi.wvalid & axi.wstrb.any() & ~axi.wstrb.all()
    yield axi.wvalid & ~axi.wstrb.any() & ~dut.timed_out


class Queue(Component):
    """A queue of Amaranth's library.

    ``fault``: one that ``loses`` loses what is put in while something is taken out, one that ``takes all`` goes on as
    if what it offers were taken at once.
    """

    def __init__(self, kind: type, width: int, depth: int, *, fault: str = "") -> None:
        self._queue, self._fault = kind(width=width, depth=depth), fault
        self.depth, self.latency = depth, int(kind is SyncFIFOBuffered)
        super().__init__({
            "w_data": In(width), "w_en": In(1), "w_rdy": Out(1), "r_data": Out(width), "r_en": In(1), "r_rdy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = self._queue
        m.d.comb += [
            queue.w_data.eq(self.w_data),
            queue.w_en.eq(self.w_en & ~(self.r_en & (self._fault == "loses"))),
            self.w_rdy.eq(queue.w_rdy),
            self.r_data.eq(queue.r_data),
            self.r_rdy.eq(queue.r_rdy),
            queue.r_en.eq(self.r_en | (self._fault == "takes all")),
        ]
        return m


def fifo_in_order(m: Module, dut: Queue, *, mark: Signal):
    yield from keeps_order(
        m, put=dut.w_en & dut.w_rdy, item=dut.w_data, got=dut.r_en & dut.r_rdy, out=dut.r_data, offered=dut.r_rdy,
        mark=mark, room=dut.depth, latency=dut.latency,
    )  # fmt: skip
    # It says that it is full only when it is.
    level = Signal(range(dut.depth + 1))
    m.d.sync += level.eq(level + (dut.w_en & dut.w_rdy) - (dut.r_en & dut.r_rdy))
    yield ~dut.w_rdy & (level + dut.latency < dut.depth)


def _fifo(kind: type, depth: int, fault: str = "") -> Harness:
    return Harness(Queue(kind, WIDTH, depth, fault=fault), fifo_in_order, mark=1)


def _stream(kind: str, room: int, latency: int, source: str = "i", sink: str = "o") -> Harness:
    return Harness(
        find(kind), partial(stream_in_order, room=room, latency=latency, source=source, sink=sink), mark=1
    )  # fmt: skip


IN_ORDER = "Nothing is lost, nothing comes twice, and the order stays."
WIDTH = 2
"""Bits of the queues' items: a queue does nothing with them but keep them, so that one width stands for all."""
QUEUES = (
    ("transfers of the sequencer", SyncFIFO, MOST_PENDING, None),
    ("rows to be read, one bank", SyncFIFO, 2, None),
    ("rows to be read, eight banks", SyncFIFO, 8, None),
)

PROOFS = (
    Proof(
        name="DmaRead: beats in order",
        claim=f"{IN_ORDER} From the bus to the stream, until a command times out.",
        build=lambda: Harness(find("DmaRead"), beats_read_in_order, mark=1),
        breaks=(Break(module="host.dma_read", before="(moving & (left != 0) & skid.i.ready)", after="moving"),),
    ),
    Proof(
        name="DmaWrite: beats in order",
        claim=f"{IN_ORDER} From the stream to the bus; beats that write nothing come only after a time-out.",
        build=lambda: Harness(find("DmaWrite"), beats_written_in_order, mark=1),
        breaks=(
            Break(
                module="host.dma_write",
                before="self.data.ready.eq(active & ~stuck & skid.i.ready)",
                after="self.data.ready.eq(~stuck & skid.i.ready)",
            ),
        ),
    ),
    Proof(
        name="SkidBuffer: in order",
        claim=IN_ORDER,
        build=partial(_stream, "SkidBuffer", 2, 0),
        quick=True,
        breaks=(
            Break(module="vector.skid", before="waits.eq(self.i.valid & ~moves)", after="waits.eq(0)"),
            Break(module="vector.skid", before="self.i.ready.eq(~waits)", after="self.i.ready.eq(1)"),
        ),
    ),
    *(
        Proof(
            name=f"queue of {what}: in order",
            claim=f"{IN_ORDER} {depth} deep.",
            build=partial(_fifo, kind, depth),
            breaks=(Break(build=partial(_fifo, kind, depth, "loses")),),
            cycles=cycles,
            seconds=120,
            quick=depth <= 4,
        )
        for what, kind, depth, cycles in QUEUES
    ),
)
