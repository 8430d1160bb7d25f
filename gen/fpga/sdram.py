# SPDX-License-Identifier: Apache-2.0
"""A controller for a board's SDRAM: LiteDRAM's, with two AXI4 ports and a power-up sequence of its own, as Verilog.

The chip is one of 16 bits, single data rate, 4 banks of 8192 rows of 512 columns (MT48LC16M16 and its like): 32 MB.
LiteDRAM (BSD-2-Clause) has the controller, its PHY for such chips and its AXI4 ports; :mod:`respin.rtl.fpga.sdram` is
what stands around it.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from litedram.core.controller import LiteDRAMController
from litedram.core.crossbar import LiteDRAMCrossbar
from litedram.frontend.axi import LiteDRAMAXI2Native, LiteDRAMAXIPort
from litedram.init import get_sdram_phy_init_sequence
from litedram.modules import MT48LC16M16
from litedram.phy import GENSDRPHY
from litex.gen.fhdl import verilog
from migen import FSM, Case, ClockDomain, If, Module, NextState, NextValue, Signal

from respin.gen.emit import TIMESCALE
from respin.gen.synthesis import run_yosys
from respin.rtl.fpga.sdram import CONTROLLER, SDRAM_PINS

ADDRESS_BITS = 32
_START_US = 200
"""Microseconds from power to the first command, as the slowest of such chips asks for."""
_LEAST_WAIT = 16
"""Cycles after each step of the power-up at least: more than a precharge or a refresh takes at any clock here."""
_AXI = {
    "aw": ("addr", "len", "size", "burst", "id", "valid", "ready"),
    "w": ("data", "strb", "last", "valid", "ready"),
    "b": ("resp", "id", "valid", "ready"),
    "ar": ("addr", "len", "size", "burst", "id", "valid", "ready"),
    "r": ("data", "resp", "last", "id", "valid", "ready"),
}


class _Pads:
    """The chip's pins, as LiteDRAM names them."""

    def __init__(self) -> None:
        for name, width in SDRAM_PINS.items():
            setattr(self, name, Signal(width, name=name))
        self.dq = Signal(16, name="dq")

    def flatten(self) -> list[Signal]:
        return [getattr(self, name) for name in (*SDRAM_PINS, "dq")]


class _PowerUp(Module):
    """Gives the chip the commands it needs before the first access, as LiteDRAM lists them."""

    def __init__(self, steps: list[tuple[str, int, int, str, int]]) -> None:
        self.done = Signal()
        self.address, self.bank = Signal(13), Signal(2)
        self.cs_n, self.ras_n, self.cas_n, self.we_n = (Signal(reset=1) for _ in range(4))
        step, left = Signal(max=len(steps) + 1), Signal(max=max(wait for *_, wait in steps) + _LEAST_WAIT)
        self.submodules.fsm = fsm = FSM(reset_state="COMMAND")
        given = {}
        for number, (_, address, bank, command, wait) in enumerate(steps):
            chosen = [self.address.eq(address), self.bank.eq(bank), NextValue(left, max(wait, _LEAST_WAIT))]
            for pin in ("cs", "ras", "cas", "we"):
                chosen.append(getattr(self, f"{pin}_n").eq(f"DFII_COMMAND_{pin.upper()}" not in command))
            given[number] = chosen
        fsm.act("COMMAND", Case(step, given), NextState("WAIT"))
        fsm.act("WAIT", NextValue(left, left - 1), If(left == 0, NextValue(step, step + 1), NextState("NEXT")))
        fsm.act("NEXT", If(step == len(steps), NextState("DONE")).Else(NextState("COMMAND")))
        fsm.act("DONE", self.done.eq(1))


class _Controller(Module):
    def __init__(self, *, clock_mhz: int, widths: dict[str, int]) -> None:
        self.pads = _Pads()
        self.ready = Signal(name="ready")
        self.clk, self.rst = Signal(name="clk"), Signal(name="rst")
        self.clock_domains.cd_sys = ClockDomain("sys")
        chip = MT48LC16M16(clock_mhz * 1e6, "1:1")
        self.submodules.phy = phy = GENSDRPHY(self.pads, clock_mhz * 1e6)
        (first, *rest), _ = get_sdram_phy_init_sequence(phy.settings, chip.timing_settings)
        steps = [(*first[:-1], _START_US * clock_mhz), *rest]
        self.submodules.start = start = _PowerUp(steps)
        self.submodules.controller = controller = LiteDRAMController(
            phy.settings, chip.geom_settings, chip.timing_settings, clock_mhz * 1e6
        )
        self.submodules.crossbar = crossbar = LiteDRAMCrossbar(controller.interface)
        phase = phy.dfi.p0
        self.comb += [
            self.cd_sys.clk.eq(self.clk), self.cd_sys.rst.eq(self.rst),
            self.ready.eq(start.done),
            If(start.done, controller.dfi.connect(phy.dfi)).Else(
                phase.cke.eq(1), phase.address.eq(start.address), phase.bank.eq(start.bank),
                phase.cs_n.eq(start.cs_n), phase.ras_n.eq(start.ras_n), phase.cas_n.eq(start.cas_n),
                phase.we_n.eq(start.we_n),
            ),
        ]  # fmt: skip
        self.ios = {*self.pads.flatten(), self.clk, self.rst, self.ready}
        for name, bits in widths.items():
            axi = LiteDRAMAXIPort(data_width=bits, address_width=ADDRESS_BITS, id_width=1)
            self.submodules += LiteDRAMAXI2Native(axi, crossbar.get_port(data_width=bits))
            for channel, members in _AXI.items():
                self._expose(f"{name}_{channel}", getattr(axi, channel), members, driven=channel in ("b", "r"))

    def _expose(self, prefix: str, channel: object, members: tuple[str, ...], *, driven: bool) -> None:
        for member in members:
            inner = getattr(channel, member)
            outer = Signal(len(inner), name=prefix + member)
            out = (member == "ready") != driven
            self.comb += outer.eq(inner) if out else inner.eq(outer)
            self.ios.add(outer)


def controller(*, clock_mhz: int, data_bits: int) -> str:
    """Return the Verilog of module ``respin_sdram``: ports ``dma`` of ``data_bits`` and ``link`` of 32 bits, and pins.

    Nothing may be asked for before ``ready``. Yosys rewrites what LiteX writes, whose combinational processes have
    non-blocking assignments: simulators differ about those.

    Raises
    ------
    RuntimeError
        If Yosys fails, with its last error.
    """
    made = _Controller(clock_mhz=clock_mhz, widths={"dma": data_bits, "link": 32})
    with TemporaryDirectory(prefix="respin-sdram-") as name:
        source, result = Path(name) / "litex.v", Path(name) / "yosys.v"
        source.write_text(str(verilog.convert(made, made.ios, name=CONTROLLER)), encoding="utf-8")
        run_yosys([f"read_verilog {source}", "proc", "pmuxtree", "opt_clean", f"write_verilog -noattr {result}"])
        return f"`timescale {TIMESCALE}\n{result.read_text(encoding='utf-8')}"
