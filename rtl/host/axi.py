# SPDX-License-Identifier: Apache-2.0
"""AXI4 and AXI4-Lite as signatures, with the names that the specification gives the signals.

Seen from the manager: a subordinate has ``In(AxiLite(...))``. In Verilog the signals of a bundle called ``m_axi`` come
out as ``m_axi_awaddr`` and so on (:mod:`respin.gen.emit`), by which tools recognise it.
"""

from amaranth.hdl import Module, unsigned
from amaranth.lib import enum
from amaranth.lib.wiring import In, Out, Signature

DATA_BITS = (32, 64, 128, 256)
"""Widths of data that the DMA is built for."""
PAGE_BYTES = 4096
"""No burst crosses a multiple of this."""
MAX_BEATS = 256
"""Beats of an AXI4 burst of type INCR."""


class Response(enum.Enum, shape=unsigned(2)):
    """How a transfer ended; the high bit says that it failed."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


class Burst(enum.Enum, shape=unsigned(2)):
    """How the address moves from beat to beat."""

    FIXED = 0
    INCR = 1
    WRAP = 2


MODIFIABLE_BUFFERABLE = 0b0011
"""``axcache`` of ordinary memory: an interconnect may split, merge and buffer what is moved."""


def require_int(name: str, value: object, low: int, high: int) -> None:
    """Raise TypeError if ``value`` is no integer, ValueError if it is out of range."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be in {low}..{high}, not {value!r}")


def require_data_bits(data_bits: object) -> None:
    """Raise TypeError or ValueError if the DMA cannot be built for ``data_bits``."""
    require_int("data_bits", data_bits, 1, DATA_BITS[-1])
    if data_bits not in DATA_BITS:
        raise ValueError(f"data_bits must be one of {', '.join(map(str, DATA_BITS))}, not {data_bits!r}")


class AxiBundle(Signature):
    """Signals of one interface, whose names are joined to the bundle's by a single underscore in Verilog."""


class AxiLite(AxiBundle):
    """AXI4-Lite.

    Parameters
    ----------
    addr_width : int
        Bits of an address, which counts bytes.
    data_width : int
        Bits of data: 32 or 64.
    """

    def __init__(self, addr_width: int = 12, data_width: int = 32) -> None:
        require_int("addr_width", addr_width, 1, 64)
        require_int("data_width", data_width, 32, 64)
        if data_width not in (32, 64):
            raise ValueError(f"data_width must be 32 or 64, not {data_width!r}")
        self.addr_width, self.data_width = addr_width, data_width
        super().__init__(
            {
                "awaddr": Out(addr_width),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(data_width),
                "wstrb": Out(data_width // 8),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(Response),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(addr_width),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(data_width),
                "rresp": In(Response),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


def _address(prefix: str, addr_bits: int, id_bits: int) -> dict[str, object]:
    return {
        f"{prefix}id": Out(id_bits),
        f"{prefix}addr": Out(addr_bits),
        f"{prefix}len": Out(8),
        f"{prefix}size": Out(3),
        f"{prefix}burst": Out(Burst),
        f"{prefix}lock": Out(1),
        f"{prefix}cache": Out(4),
        f"{prefix}prot": Out(3),
        f"{prefix}qos": Out(4),
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
    }


def _read_members(data_bits: int, addr_bits: int, id_bits: int) -> dict[str, object]:
    return _address("ar", addr_bits, id_bits) | {
        "rid": In(id_bits),
        "rdata": In(data_bits),
        "rresp": In(Response),
        "rlast": In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


def _write_members(data_bits: int, addr_bits: int, id_bits: int) -> dict[str, object]:
    return _address("aw", addr_bits, id_bits) | {
        "wdata": Out(data_bits),
        "wstrb": Out(data_bits // 8),
        "wlast": Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid": In(id_bits),
        "bresp": In(Response),
        "bvalid": In(1),
        "bready": Out(1),
    }


class _Axi4(AxiBundle):
    def __init__(self, data_bits: int, addr_bits: int = 32, id_bits: int = 1) -> None:
        require_data_bits(data_bits)
        require_int("addr_bits", addr_bits, 12, 64)
        require_int("id_bits", id_bits, 1, 32)
        self.data_bits, self.addr_bits, self.id_bits = data_bits, addr_bits, id_bits
        super().__init__(self._channels(data_bits, addr_bits, id_bits))

    @staticmethod
    def _channels(data_bits: int, addr_bits: int, id_bits: int) -> dict[str, object]:
        raise NotImplementedError


class Axi4Read(_Axi4):
    """The read channels of AXI4; parameters as for :class:`Axi4`."""

    @staticmethod
    def _channels(data_bits: int, addr_bits: int, id_bits: int) -> dict[str, object]:
        return _read_members(data_bits, addr_bits, id_bits)


class Axi4Write(_Axi4):
    """The write channels of AXI4; parameters as for :class:`Axi4`."""

    @staticmethod
    def _channels(data_bits: int, addr_bits: int, id_bits: int) -> dict[str, object]:
        return _write_members(data_bits, addr_bits, id_bits)


class Axi4(_Axi4):
    """AXI4.

    Parameters
    ----------
    data_bits : int
        Bits of a beat: 32, 64, 128 or 256.
    addr_bits : int
        Bits of an address, which counts bytes.
    id_bits : int
        Bits of a transaction's identifier.
    """

    @staticmethod
    def _channels(data_bits: int, addr_bits: int, id_bits: int) -> dict[str, object]:
        return _write_members(data_bits, addr_bits, id_bits) | _read_members(data_bits, addr_bits, id_bits)


def join(m: Module, axi: object, part: object) -> None:
    """Connect a manager's read or write channels to those of the same names of the bundle ``axi`` at the edge."""
    for name, member in part.signature.members.items():
        inner, outer = getattr(part, name), getattr(axi, name)
        m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
