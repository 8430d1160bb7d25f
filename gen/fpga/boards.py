# SPDX-License-Identifier: Apache-2.0
"""The boards: their chips, and which of their pins the machine uses, as ``amaranth-boards`` knows them."""

import importlib
from dataclasses import dataclass
from typing import Any

from respin.rtl.fpga.spram import CELL_BYTES, CELLS


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """An FPGA board.

    Parameters
    ----------
    name, title:
        What it is called on the command line, and the chip.
    family:
        ``ecp5``, ``ice40`` or ``gowin``: the tools that serve it.
    chip:
        Options of nextpnr that name chip, package and speed.
    platform:
        Module and class of ``amaranth_boards``.
    oscillator, oscillator_mhz, pll:
        Name and frequency of the clock on the board, and whether the chip's PLL can multiply it.
    preset, clock_mhz:
        What is built unless something else is asked for; without a preset the link alone, as no machine fits.
    memory_bytes:
        External memory, if out of block RAM.
    spram_bytes:
        Single-port RAM on the chip, which is the external memory where there is some.
    sdram:
        Whether there is SDRAM, of the kind that :mod:`respin.gen.fpga.sdram` makes a controller for.
    resources:
        What the chip has, by nextpnr's names for it.
    """

    name: str
    title: str
    family: str
    chip: tuple[str, ...]
    platform: tuple[str, str]
    oscillator: str
    oscillator_mhz: int
    pll: bool
    preset: str | None
    clock_mhz: int
    memory_bytes: int
    resources: dict[str, int]
    spram_bytes: int = 0
    sdram: bool = False


def _ulx3s(size: str, preset: str | None, memory_bytes: int, resources: dict[str, int]) -> Board:
    return Board(
        name=f"ulx3s-{size}f", title=f"ULX3S, ECP5 LFE5U-{size}F, speed grade 6", family="ecp5",
        chip=(f"--{size}k", "--package", "CABGA381", "--speed", "6"), platform=("ulx3s", f"ULX3S_{size}F_Platform"),
        oscillator="clk25", oscillator_mhz=25, pll=True, preset=preset, clock_mhz=25, memory_bytes=memory_bytes,
        resources=resources, sdram=True,
    )  # fmt: skip


BOARDS = {
    board.name: board
    for board in (
        _ulx3s("85", "nano", 1 << 16, {
            "TRELLIS_COMB": 83640, "TRELLIS_FF": 83640, "DP16KD": 208, "MULT18X18D": 156,
        }),
        _ulx3s("25", None, 1 << 14, {
            "TRELLIS_COMB": 24288, "TRELLIS_FF": 24288, "DP16KD": 56, "MULT18X18D": 28,
        }),
        Board(
            name="icebreaker", title="iCEBreaker, iCE40 UP5K", family="ice40", chip=("--up5k", "--package", "sg48"),
            platform=("icebreaker", "ICEBreakerPlatform"), oscillator="clk12", oscillator_mhz=12, pll=False,
            preset=None, clock_mhz=12, memory_bytes=1 << 12, spram_bytes=CELLS * CELL_BYTES,
            resources={"ICESTORM_LC": 5280, "ICESTORM_RAM": 30, "ICESTORM_DSP": 8, "ICESTORM_SPRAM": CELLS},
        ),
        Board(
            name="tangnano9k", title="Tang Nano 9K, Gowin GW1NR-9C", family="gowin",
            chip=("--device", "GW1NR-LV9QN88PC6/I5", "--vopt", "family=GW1N-9C"),
            platform=("tang_nano_9k", "TangNano9kPlatform"), oscillator="clk27", oscillator_mhz=27, pll=False,
            preset=None, clock_mhz=27, memory_bytes=1 << 12, resources={"LUT4": 8640, "DFF": 6480, "BSRAM": 26},
        ),
    )
}  # fmt: skip
"""Boards by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """A pin of the chip: its site, the attributes of its buffer, and whether the board turns its level over."""

    port: str
    site: str
    attributes: dict[str, str]
    inverted: bool


_SDRAM_PORTS = {
    "sdram_clk": "clk", "sdram__cke": "clk_en", "sdram__cs_n": "cs", "sdram__ras_n": "ras", "sdram__cas_n": "cas",
    "sdram__we_n": "we", "sdram__ba": "ba", "sdram__a": "a", "sdram__dm": "dqm", "sdram_dq": "dq",
}  # fmt: skip
"""Ports of the SDRAM, and what ``amaranth-boards`` calls them; the controller's levels are those on the wires."""


def pins(board: Board, *, sdram: bool = False) -> list[Pin]:
    """Return the pins of the ports of :class:`respin.rtl.fpga.board.Board`, as ``amaranth-boards`` has them.

    Raises
    ------
    ModuleNotFoundError
        If ``amaranth-boards`` is not installed.
    """
    module, name = board.platform
    platform = getattr(importlib.import_module(f"amaranth_boards.{module}"), name)
    resources = {(resource.name, resource.number): resource for resource in platform.resources}
    uart = {part.name: part for part in resources["uart", 0].ios if hasattr(part, "ios")}
    found = {
        "clock": resources[board.oscillator, 0],
        "rx": uart["rx"],
        "tx": uart["tx"],
        "busy": resources["led", 0],
        "alert": resources["led", 1],
    }
    shared = _attributes(resources["uart", 0])
    made = [_pin(port, part, shared if port in uart else {}) for port, part in found.items()]
    if sdram:
        chip = resources["sdram", 0]
        parts = {part.name: part.ios[0].names for part in chip.ios}
        for port, name in _SDRAM_PORTS.items():
            sites = parts[name]
            for place, site in enumerate(sites):
                wire = f"{port}[{place}]" if len(sites) > 1 else port
                made.append(Pin(port=wire, site=site, attributes=_attributes(chip), inverted=False))
    return made


def _attributes(part: Any) -> dict[str, str]:
    return {key: str(value) for key, value in part.attrs.items()}


def _pin(port: str, part: Any, shared: dict[str, str]) -> Pin:
    (wires,) = part.ios
    (site,) = wires.names
    return Pin(port=port, site=site, attributes=shared | _attributes(part), inverted=wires.invert)


def constraints(board: Board, *, sdram: bool = False, oscillator_mhz: float | None = None) -> str:
    """Return the file of constraints for the board's tools: LPF, PCF or CST.

    Parameters
    ----------
    board:
        The board.
    sdram:
        With the SDRAM's pins.
    oscillator_mhz:
        What an ECP5's tools are told that the oscillator makes; what it makes unless given.
    """
    lines = []
    for pin in pins(board, sdram=sdram):
        if board.family == "ice40":
            lines.append(f"set_io {pin.port} {pin.site}")
            continue
        attributes = " ".join(f"{key}={value}" for key, value in pin.attributes.items())
        if board.family == "ecp5":
            lines += [f'LOCATE COMP "{pin.port}" SITE "{pin.site}";', f'IOBUF PORT "{pin.port}" {attributes};']
        else:
            lines += [f'IO_LOC "{pin.port}" {pin.site};', f'IO_PORT "{pin.port}" {attributes};']
    if board.family == "ecp5":
        told = board.oscillator_mhz if oscillator_mhz is None else oscillator_mhz
        lines.append(f'FREQUENCY PORT "clock" {told:g} MHZ;')
    return "".join(f"{line}\n" for line in lines)
