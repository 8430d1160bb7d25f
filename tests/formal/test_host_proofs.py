# SPDX-License-Identifier: Apache-2.0
"""Handshakes of the host's side, proven for whatever the other side does, by induction."""

import pytest
from amaranth.hdl import Cat, Signal
from induction import before, prove, withdrawn

from respin.rtl.config import preset
from respin.rtl.host.arbiter import ReadArbiter
from respin.rtl.host.axi_lite import AxiLitePort
from respin.rtl.host.dma_read import DmaRead
from respin.rtl.host.dma_write import DmaWrite
from respin.rtl.host.register_file import RegisterFile
from respin.rtl.host.registers import register_map


def channel(axi, prefix):
    """Valid, ready and what a channel carries, of those that the bundle has."""
    names = [name for name in axi.signature.members if name.startswith(prefix) and name[len(prefix) :] in FIELDS]
    return [getattr(axi, f"{prefix}valid"), getattr(axi, f"{prefix}ready"), *(getattr(axi, name) for name in names)]


FIELDS = {
    "id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos", "data", "strb", "last", "resp",
}  # fmt: skip


def port_properties(m, dut):
    axi = dut.axi
    properties = [withdrawn(m, *channel(axi, "b")), withdrawn(m, *channel(axi, "r"))]
    # Requests taken and not yet answered lie in the port or are being answered: each gets one response, none comes
    # without its request, and a write's response follows both its address and its data.
    for request, response in (("aw", "b"), ("w", "b"), ("ar", "r")):
        valid, ready, *_ = channel(axi, request)
        answered, taken, *_ = channel(axi, response)
        open_requests = Signal(3)
        m.d.sync += open_requests.eq(open_requests + (valid & ready) - (answered & taken))
        properties.append(open_requests != ~ready + answered)
    # An access is carried out once, when its response begins.
    for access, answered in ((dut.write, axi.bvalid), (dut.read, axi.rvalid)):
        properties += [before(m, access) & ~answered, access & answered]
    return properties


def test_axi_lite_port(tmp_path):
    prove(AxiLitePort(), port_properties, tmp_path)


def test_locked_registers_keep_their_values(tmp_path):
    def properties(m, dut):
        held = Cat(dut.regs.program_base, dut.regs.program_count)
        yield before(m, dut.regs.running) & (held != before(m, held))
        yield dut.regs.program_base[:8].any()

    prove(RegisterFile(registers=register_map(preset("tiny"))), properties, tmp_path)


def read_properties(m, dut):
    yield withdrawn(m, *channel(dut.axi, "ar"))
    yield withdrawn(m, dut.data.valid, dut.data.ready, dut.data.payload)
    yield withdrawn(m, dut.status.valid, dut.status.ready, dut.status.payload)


def write_properties(m, dut):
    yield withdrawn(m, *channel(dut.axi, "aw"))
    yield withdrawn(m, *channel(dut.axi, "w"))
    yield withdrawn(m, dut.status.valid, dut.status.ready, dut.status.payload)


@pytest.mark.parametrize("bits", [32, 256])
def test_dma_read(bits, tmp_path):
    prove(DmaRead(data_bits=bits, watchdog=8), read_properties, tmp_path)


@pytest.mark.parametrize("bits", [32, 256])
def test_dma_write(bits, tmp_path):
    prove(DmaWrite(data_bits=bits, watchdog=8), write_properties, tmp_path)


def test_read_arbiter(tmp_path):
    def properties(m, dut):
        faults = Cat(withdrawn(m, *channel(client, "ar")) for client in dut.clients)
        yield withdrawn(m, *channel(dut.axi, "ar")) & ~faults.any()
        for client in dut.clients:
            yield withdrawn(m, *channel(client, "r"))

    prove(ReadArbiter(clients=2, data_bits=32), properties, tmp_path)


def test_what_does_not_hold_is_not_proven(tmp_path):
    def properties(m, dut):
        yield from read_properties(m, dut)
        yield dut.axi.arvalid & (dut.axi.araddr == 0x1234)

    with pytest.raises(RuntimeError, match="proof did fail"):
        prove(DmaRead(data_bits=32, watchdog=8), properties, tmp_path)
