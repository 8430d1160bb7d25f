# SPDX-License-Identifier: Apache-2.0
"""The activation store: words of 8 bit-planes by 32 lanes, shared by fixed priority."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import BLOCK, PLANES, AcceleratorConfig
from respin.rtl.interfaces import STORE_ADDRESS_BITS, WORD, StoreRead, StoreWrite


def _grant(m: Module, requests: list[Signal], readies: list[Signal]) -> Signal:
    """Let the first of ``requests`` that is high through; return its index."""
    index = Signal(range(len(requests)))
    taken = 0
    for number, (request, ready) in enumerate(zip(requests, readies, strict=True)):
        m.d.comb += ready.eq(~taken)
        taken = taken | request
        # Later statements win, so the lowest number has to be assigned last.
        with m.If(requests[-1 - number]):
            m.d.comb += index.eq(len(requests) - 1 - number)
    return index


class Store(Component):
    """On-chip memory of activations, errors and masks, one read and one write a cycle.

    Eight memories of ``store_words`` x 32 bits, one a bit-plane, with one read and one write port each (block RAM).
    Among the readers, and among the writers, the one with the lowest number that asks goes first; a client that waits
    sees ``ready`` low. A word that is read in the cycle in which it is written still has its old content.

    An address at or past ``store_words`` reads as zero and is not written, and sets ``address_error``, which stays
    until ``clear_error``.

    Latency: 1 cycle from ``valid & ready`` to ``data``, which holds for that one cycle.
    Throughput: one word read and one word written in each cycle.

    Parameters
    ----------
    config:
        Uses ``store_words`` (words), ``slices`` (lanes written together).
    readers:
        Number of read clients, at least 1.
    writers:
        Number of write clients, at least 1.

    Members
    -------
    reads:
        ``readers`` times In(:class:`~respin.rtl.interfaces.StoreRead`).
    writes:
        ``writers`` times In(:class:`~respin.rtl.interfaces.StoreWrite`).
    clear_error:
        In(1): forget the address error.
    address_error:
        Out(1): an address was out of range since reset or ``clear_error``.

    Raises
    ------
    TypeError
        If ``config`` is no :class:`AcceleratorConfig`, or ``readers`` or ``writers`` is no integer.
    ValueError
        If there is no reader or no writer.
    """

    latency = 1

    def __init__(self, *, config: AcceleratorConfig, readers: int, writers: int) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        for name, value in (("readers", readers), ("writers", writers)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, not {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        self.config = config
        super().__init__({
            "reads": In(StoreRead()).array(readers),
            "writes": In(StoreWrite(config)).array(writers),
            "clear_error": In(1),
            "address_error": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        planes = []
        for number in range(PLANES):
            plane = Memory(shape=BLOCK, depth=self.config.store_words, init=[])
            m.submodules[f"plane_{number}"] = plane
            planes.append((plane.read_port(), plane.write_port(granularity=self.config.slices)))
        read_error = self._connect_readers(m, [port for port, _ in planes])
        write_error = self._connect_writers(m, [port for _, port in planes])
        with m.If(read_error | write_error):
            m.d.sync += self.address_error.eq(1)
        with m.Elif(self.clear_error):
            m.d.sync += self.address_error.eq(0)
        return m

    def _outside(self, address: Signal) -> Signal:
        return address[(self.config.store_words - 1).bit_length() :].any()

    def _connect_readers(self, m: Module, ports: list) -> Signal:
        """Connect the clients to the memories' read ports; return "an address is out of range"."""
        index = _grant(m, [client.valid for client in self.reads], [client.ready for client in self.reads])
        address = Signal(STORE_ADDRESS_BITS)
        enable, outside, blank = Signal(), Signal(), Signal()
        data = Signal(WORD)
        m.d.comb += [
            address.eq(Array(client.addr for client in self.reads)[index]),
            enable.eq(Cat(client.valid for client in self.reads).any()),
            outside.eq(self._outside(address)),
        ]
        m.d.sync += blank.eq(outside)
        for plane, port in enumerate(ports):
            m.d.comb += [port.addr.eq(address), port.en.eq(enable), data[plane].eq(Mux(blank, 0, port.data))]
        for client in self.reads:
            m.d.comb += client.data.eq(data)
        return enable & outside

    def _connect_writers(self, m: Module, ports: list) -> Signal:
        """Connect the clients to the memories' write ports; return "an address is out of range"."""
        index = _grant(m, [client.valid for client in self.writes], [client.ready for client in self.writes])
        address = Signal(STORE_ADDRESS_BITS)
        groups = Signal(BLOCK // self.config.slices)
        enables = Signal(PLANES)
        data = Signal(WORD)
        valid, outside = Signal(), Signal()
        m.d.comb += [
            address.eq(Array(client.addr for client in self.writes)[index]),
            groups.eq(Array(client.groups for client in self.writes)[index]),
            enables.eq(Array(client.planes for client in self.writes)[index]),
            data.as_value().eq(Array(client.data.as_value() for client in self.writes)[index]),
            valid.eq(Cat(client.valid for client in self.writes).any()),
            outside.eq(self._outside(address)),
        ]
        for plane, port in enumerate(ports):
            m.d.comb += [
                port.addr.eq(address),
                port.data.eq(data[plane]),
                port.en.eq(Mux(valid & ~outside & enables[plane], groups, 0)),
            ]
        return valid & outside
