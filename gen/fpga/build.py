# SPDX-License-Identifier: Apache-2.0
"""The flow: a configuration becomes a bitstream, with what was measured on the way."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from respin.gen.emit import emit
from respin.gen.folder import MANIFEST, require_replaceable, sha256, write_folder
from respin.gen.fpga.boards import BOARDS, Board, constraints, pins
from respin.gen.fpga.floorplan import picture
from respin.gen.fpga.mapping import flip_flops, needs, synthesise
from respin.gen.fpga.measured import fitting, is_crowded, known_shortage, needs_of, short_of, too_many_flip_flops
from respin.gen.fpga.timing import Timing, read
from respin.gen.fpga.tools import FAMILIES, FlowError, pack, place_and_route
from respin.gen.versions import commit, package_version, versions
from respin.rtl.config import AcceleratorConfig
from respin.rtl.fpga.bank import NO_ERRORS, ONE_CYCLE, BankErrors, BankTiming
from respin.rtl.fpga.board import Board as BoardTop
from respin.rtl.fpga.board import BoardConfig
from respin.rtl.fpga.clock import Clock
from respin.rtl.fpga.sdram import SDRAM_BYTES
from respin.rtl.fpga.spram import WIDEST as SPRAM_BITS
from respin.rtl.link.uart import bit_cycles

TOP = "respin_board"
PACKAGES = ("pyosys", "amaranth-boards")
"""What the flow needs for every family."""
SDRAM_PACKAGES = ("litedram", "litex", "migen")
"""What it needs for the SDRAM."""


class CapacityError(Exception):
    """The design is too large for the chip; the message names what is short, and what would fit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is to be built.

    Parameters
    ----------
    board:
        A name of :data:`BOARDS`.
    config:
        The machine; its ``clock_mhz`` is the board's clock.
    seeds:
        Seeds of placement that are tried; the fastest result is kept.
    machine:
        False leaves the machine out (:class:`respin.rtl.fpga.board.BoardConfig`).
    sdram:
        External memory is the board's SDRAM, not memory on the chip.
    block_ram:
        External memory is block RAM, though the chip has single-port RAM.
    baud:
        Of the serial line.
    timing, errors:
        Of the banks.

    Raises
    ------
    ValueError
        If the board cannot make the clock, the clock does not meet the line's rate, or the memory that is asked for is
        not there, or not for words as wide as the configuration's.
    """

    board: str
    config: AcceleratorConfig
    machine: bool = True
    seeds: Sequence[int] = (1,)
    sdram: bool = False
    block_ram: bool = False
    baud: int = 115_200
    timing: BankTiming = ONE_CYCLE
    errors: BankErrors = NO_ERRORS

    def __post_init__(self) -> None:
        _ = self.bit_cycles
        if self.sdram and not self.chosen.sdram:
            others = ", ".join(board.name for board in BOARDS.values() if board.sdram)
            raise ValueError(f"{self.board} has no SDRAM that there is a controller for; {others} have")
        if self.block_ram and not self.chosen.spram_bytes:
            raise ValueError(f"external memory of {self.board} is block RAM anyway, unless it is SDRAM")
        if self.spram and self.config.axi_bits > SPRAM_BITS:
            raise ValueError(
                f"{self.board}'s single-port RAM holds words of up to {SPRAM_BITS} bits, {self.config.name} has "
                f"axi_bits = {self.config.axi_bits}; --block-ram does without it"
            )

    @property
    def chosen(self) -> Board:
        """The board."""
        return BOARDS[self.board]

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return (self.config.name if self.machine else "link") + ("-sdram" if self.sdram else "")

    @property
    def memory_bytes(self) -> int:
        """External memory."""
        if self.sdram:
            return int(SDRAM_BYTES)
        return self.chosen.spram_bytes if self.spram else self.chosen.memory_bytes

    @property
    def spram(self) -> bool:
        """Whether external memory is the chip's single-port RAM."""
        return bool(self.chosen.spram_bytes) and not self.block_ram

    def constraints(self, *, crowded: bool) -> str:
        """Return the file of constraints, for the clock that the design is placed for."""
        board, mhz = self.chosen, self.clock.mhz
        faster = FAMILIES[board.family].placed_mhz(mhz, crowded=crowded) / mhz
        return constraints(board, sdram=self.sdram, oscillator_mhz=board.oscillator_mhz * faster)

    @property
    def clock(self) -> Clock:
        """The machine's clock."""
        board = self.chosen
        return Clock(pin_mhz=board.oscillator_mhz, mhz=self.config.clock_mhz, pll=board.pll)

    @property
    def bit_cycles(self) -> int:
        """Cycles of the clock that a bit takes on the line."""
        cycles: int = bit_cycles(self.clock.mhz * 1_000_000, self.baud)
        return cycles


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What came of it: the best run, all runs, and the report as it is written to ``report.json``."""

    best: Timing
    runs: tuple[Timing, ...]
    report: dict[str, Any]


def tool_versions(order: Order) -> dict[str, str]:
    """Return the versions of everything that makes the bitstream."""
    packages = (*PACKAGES, *FAMILIES[order.chosen.family].packages, *(SDRAM_PACKAGES if order.sdram else ()))
    return versions() | {name: str(package_version(name)) for name in packages}


def board_verilog(order: Order) -> str:
    """Return the Verilog of the board's top module."""
    board = order.chosen
    low = {pin.port for pin in pins(board) if pin.inverted}
    around = BoardConfig(
        clock=order.clock,
        memory_bytes=order.memory_bytes,
        baud=order.baud,
        machine=order.machine,
        spram=order.spram,
        sdram=order.sdram,
        lights_low="busy" in low,
        timing=order.timing,
        errors=order.errors,
    )
    text = emit(BoardTop(config=order.config, board=around), TOP, config=order.config)
    if order.sdram:
        from respin.gen.fpga.sdram import controller

        text += controller(clock_mhz=order.clock.mhz, data_bits=order.config.axi_bits)
    return text


def refuse(order: Order, short: str | None) -> None:
    """Raise CapacityError if the board is ``short`` of something: the message says what would fit."""
    if short is not None:
        board = order.chosen
        raise CapacityError(f"{order.name} does not fit {board.name}: {short}; {fitting(board)}")


def require_known_room(order: Order) -> None:
    """Raise CapacityError if it is known that the board is too small; it takes no time, and not all is known."""
    if order.machine:
        refuse(order, known_shortage(order.config, order.chosen))


def build(order: Order, folder: Path, *, show: Callable[[str], None]) -> Result:
    """Make the bitstream, and write it with its reports into ``folder``.

    The folder appears even if the clock is too slow: the bitstream is there, and ``report.json`` says what it reaches.

    Parameters
    ----------
    order:
        What to build.
    folder:
        Where to; replaced if it was generated.
    show:
        Called with a line for each step, and with the lines of the tools.

    Raises
    ------
    CapacityError
        If the chip is too small.
    FlowError, RuntimeError
        If a tool fails, with its last error.
    FolderError
        If the folder cannot be written.
    """
    folder = folder.absolute()
    require_replaceable(folder)
    board, family = order.chosen, FAMILIES[order.chosen.family]
    target = order.config.clock_mhz
    show(f"generating Verilog of {order.name}")
    text = board_verilog(order)
    files: dict[str, str | bytes] = {}
    with tempfile.TemporaryDirectory(prefix="respin-bitstream-") as name:
        work = Path(name)
        source = work / f"{TOP}.v"
        source.write_text(text, encoding="utf-8")
        if order.machine and board.family not in needs_of(order.config):
            show("counting flip-flops")
            refuse(order, too_many_flip_flops(flip_flops(source, TOP, work), board, "before mapping"))
        show(f"synthesising for {board.title}")
        mapped = synthesise(source, TOP, board.family, work)
        needed = needs(mapped.cells, board.family)
        refuse(order, short_of(needed, board))
        crowded = is_crowded(needed, board)
        constrained = order.constraints(crowded=crowded)
        (work / family.constraints).write_text(constrained, encoding="utf-8")
        runs: list[Timing] = []
        for seed in order.seeds:
            show(f"placing and routing, seed {seed}")
            try:
                place_and_route(board, work, seed, mhz=target, crowded=crowded, show=show)
            except FlowError as error:
                if "no BELs remaining" in str(error):
                    refuse(order, str(error))
                raise
            run = read(work / "timing.json", seed=seed, target_mhz=target)
            if all(run.mhz > before.mhz for before in runs):
                show(f"packing, seed {seed}")
                files[family.bitstream] = pack(board, work, show=show).read_bytes()
                title = f"{order.name} on {board.title}, seed {seed}, {run.mhz} MHz"
                files["floorplan.svg"] = picture(work / "routed.json", title)
                files["routed.json"] = (work / "routed.json").read_bytes()
                files["timing.json"] = (work / "timing.json").read_bytes()
            runs.append(run)
        files |= {f"{TOP}.v": text, family.constraints: constrained, "mapped.v": mapped.verilog.read_bytes()}
    best = max(runs, key=lambda run: run.mhz)
    report = {
        "design": order.name,
        "board": board.name,
        "chip": board.title,
        "config": asdict(order.config),
        "memory_bytes": order.memory_bytes,
        "baud": order.baud,
        "versions": tool_versions(order),
        "commit": commit(),
        "needs": needed,
        "runs": [{"seed": run.seed, "mhz": run.mhz} for run in runs],
        "best": asdict(best) | {"met": best.met},
    }
    files["report.json"] = json.dumps(report, indent=2) + "\n"
    files["report.txt"] = describe(report)
    manifest = {"versions": report["versions"], "commit": report["commit"],
                "files": {name: {"sha256": sha256(content)} for name, content in files.items()}}  # fmt: skip
    write_folder(folder, {**files, MANIFEST: json.dumps(manifest, indent=2) + "\n"})
    return Result(best=best, runs=tuple(runs), report=report)


def describe(report: dict[str, Any]) -> str:
    """Return a report as text."""
    best = report["best"]
    lines = [
        f"{report['design']} on {report['chip']}",
        f"clock: {best['mhz']} MHz of {best['target_mhz']} MHz, seed {best['seed']}: "
        + ("met" if best["met"] else "MISSED"),
        "seeds: " + ", ".join(f"{run['seed']}: {run['mhz']} MHz" for run in report["runs"]),
        "used:",
        *(f"  {kind:16} {used:>7,} of {available:>7,}" for kind, (used, available) in best["used"].items() if used),
    ]
    if best["path"]:
        path = best["path"]
        lines += [
            f"slowest path: {path['ns']} ns, {path['levels']} levels, {path['routing_ns']} ns of it routing",
            f"  from {path['from']}",
            *(f"    {net}" for net in path["nets"]),
            f"  to {path['to']}",
        ]
    lines += ["tools:", *(f"  {name} {version}" for name, version in report["versions"].items())]
    return "".join(f"{line}\n" for line in lines)
