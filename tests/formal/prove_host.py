# SPDX-License-Identifier: Apache-2.0
"""The AXI4-Lite port and the registers behind it, and the bursts of the AXI4 port."""

from functools import partial

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import Component
from catalogue import Break, Proof
from design import find
from engine import Harness
from properties import before

from respin.rtl.host.axi import PAGE_BYTES, Burst

ENGINES = {"DmaRead": "ar", "DmaWrite": "aw"}
ANSWERS = (("aw", "b"), ("w", "b"), ("ar", "r"))
"""A write's response follows both its address and its data."""


def answers_once(m: Module, dut: Component):
    axi = dut.axi
    for request, response in ANSWERS:
        taken = getattr(axi, f"{request}valid") & getattr(axi, f"{request}ready")
        answering = getattr(axi, f"{response}valid")
        unanswered = Signal(3)
        m.d.sync += unanswered.eq(unanswered + taken - (answering & getattr(axi, f"{response}ready")))
        # Taken and not yet answered: it lies in the port, which then takes no other, or its answer is on offer.
        yield unanswered != ~getattr(axi, f"{request}ready") + answering
    # An access is carried out once, when its response begins.
    for access, answering in ((dut.write, axi.bvalid), (dut.read, axi.rvalid)):
        yield before(m, access) & ~answering
        yield access & answering


def does_not_hang(m: Module, dut: Component):
    """A request that lies in the port with nothing before it is answered in the next cycle."""
    axi = dut.axi
    yield before(m, ~axi.awready & ~axi.wready & ~axi.bvalid) & ~axi.bvalid
    yield before(m, ~axi.arready & ~axi.rvalid) & ~axi.rvalid


def locked_registers(m: Module, dut: Component):
    content = Cat(dut.regs.program_base, dut.regs.program_count)
    yield before(m, dut.regs.running) & (content != before(m, content))


def bursts_fit(m: Module, dut: Component, *, prefix: str):
    axi = dut.axi
    address, length, valid, size, burst = (
        getattr(axi, f"{prefix}{name}") for name in ("addr", "len", "valid", "size", "burst")
    )
    beat = (len(axi.rdata if prefix == "ar" else axi.wdata) // 8).bit_length() - 1
    yield valid & ((size != beat) | (burst != Burst.INCR))
    yield valid & address[:beat].any()
    yield valid & (address[:12] + ((length + 1) << beat) > PAGE_BYTES)


def last_beats(m: Module, dut: Component, *, mark: Signal):
    """One burst, any one, is watched: from when its address is offered, past the beats of those before it."""
    axi = dut.axi
    offered = axi.awvalid & ~before(m, axi.awvalid & ~axi.awready)
    sent, ended = axi.wvalid & axi.wready, axi.wvalid & axi.wready & axi.wlast
    open_bursts = Signal(4)
    m.d.sync += open_bursts.eq(open_bursts + offered - ended)
    yield axi.wvalid & (open_bursts == 0)
    watched, ahead, left = Signal(), Signal(4), Signal(8)
    with m.If(offered & mark & ~watched):
        m.d.sync += [watched.eq(1), ahead.eq(open_bursts - ended), left.eq(axi.awlen)]
    with m.Elif(watched & (ahead != 0)):
        m.d.sync += ahead.eq(ahead - ended)
    with m.Elif(watched & sent):
        m.d.sync += [left.eq(left - 1), watched.eq(left != 0)]
    yield watched & (ahead == 0) & axi.wvalid & (axi.wlast != (left == 0))


AXI_LITE, BURSTS, DMA_WRITE = "host.axi_lite", "host.bursts", "host.dma_write"

PROOFS = (
    Proof(
        name="AxiLitePort: one response a request",
        claim="Each read and each write is carried out and answered once; no response comes without its request.",
        build=lambda: Harness(find("AxiLitePort"), answers_once),
        quick=True,
        breaks=(
            Break(module=AXI_LITE, before="has_address & has_data & ~axi.bvalid", after="has_address & has_data"),
            Break(module=AXI_LITE, before="axi.wready.eq(~has_data)", after="axi.wready.eq(1)"),
        ),
    ),
    Proof(
        name="AxiLitePort: does not hang",
        claim="A request that lies in the port, with no response before it on offer, is answered in the next cycle.",
        build=lambda: Harness(find("AxiLitePort"), does_not_hang),
        quick=True,
        breaks=(
            Break(
                module=AXI_LITE,
                before="has_address & has_data & ~axi.bvalid",
                after="has_address & has_data & ~axi.bvalid & ~axi.rvalid",
            ),
        ),
    ),
    Proof(
        name="RegisterFile: locked registers",
        claim="What a program was started with stays as it is while the program runs.",
        build=lambda: Harness(find("RegisterFile"), locked_registers),
        breaks=(Break(module="host.register_file", before="return locked | (self", after="return (self"),),
    ),
    *(
        Proof(
            name=f"{kind}: bursts fit",
            claim="Bursts are of whole aligned beats, of type INCR, and none crosses 4 KB.",
            build=lambda kind=kind, prefix=prefix: Harness(find(kind), partial(bursts_fit, prefix=prefix)),
            quick=kind == "DmaRead",
            breaks=(
                Break(module=BURSTS, before="Mux(left < to_end, left, to_end)", after="Mux(left < 256, left, 256)"),
            ),
        )
        for kind, prefix in ENGINES.items()
    ),
    Proof(
        name="DmaWrite: last beats",
        claim="WLAST is high on the last beat of each burst and no other; no beat comes before its address is offered.",
        build=lambda: Harness(find("DmaWrite"), last_beats, mark=1),
        cycles=14,
        breaks=(
            Break(module=DMA_WRITE, before="payload.last.eq(length == 0)", after="payload.last.eq(length[:1] == 0)"),
        ),
    ),
)
