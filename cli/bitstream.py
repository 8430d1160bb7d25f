# SPDX-License-Identifier: Apache-2.0
"""``respin bitstream``: a machine for an FPGA board, from the configuration to the bits."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from respin.cli.console import (
    BAD_INPUT,
    MAX_SEED,
    ConfigFile,
    Json,
    Preset,
    configuration,
    err,
    fail,
    out,
    print_json,
    require,
)
from respin.gen.folder import FolderError, require_replaceable, write_folder
from respin.gen.fpga.boards import BOARDS
from respin.gen.fpga.build import PACKAGES, SDRAM_PACKAGES, CapacityError, Order, build, describe, require_known_room
from respin.gen.fpga.tools import FAMILIES, FlowError
from respin.gen.fpga.vivado import PARTS, project
from respin.rtl.config import AcceleratorConfig
from respin.rtl.fpga.bank import PULSES, BankErrors, BankTiming
from respin.sim.tables import READ_CYCLES, WRITE_CYCLES, table_for

_SHOWN = ("Info: Packing", "Info: Placed", "Info: HeAP", "Info: Routing", "Info: Router", "Info: Promoting")
"""How lines of nextpnr begin that tell a user how far it is."""

BAUD = 115_200
SMALLEST = "nano"
"""The preset that a board's link and memory alone are made for where no machine fits."""

BoardName = Annotated[
    str | None, typer.Option("--board", "-b", help=f"One of {', '.join(BOARDS)}.", show_default=False)
]
Vivado = Annotated[
    str | None,
    typer.Option(
        "--vivado", help=f"Write a Vivado project for one of {', '.join(PARTS)} instead.", show_default=False
    ),
]
ClockMhz = Annotated[int | None, typer.Option("--clock", help="MHz; the board's own unless given.", show_default=False)]
Seeds = Annotated[int, typer.Option("--seeds", min=1, max=64, help="Placements to try; the fastest is kept.")]
FirstSeed = Annotated[int, typer.Option("--seed", min=1, max=MAX_SEED - 64, help="Seed of the first placement.")]
Baud = Annotated[int, typer.Option("--baud", min=1, help="Bits a second on the serial line.")]
LinkOnly = Annotated[
    bool, typer.Option("--link-only", help="Serial line and memory without a machine, to try a board out.")
]
SdramMemory = Annotated[bool, typer.Option("--sdram", help="External memory is the board's SDRAM, not the chip's.")]
BlockRam = Annotated[
    bool, typer.Option("--block-ram", help="External memory is block RAM, though the chip has single-port RAM.")
]
ReadErrors = Annotated[float, typer.Option(help="Probability that a row is read with a wrong column.")]
WriteErrors = Annotated[float, typer.Option(help="Probability that a write misses one of the strips.")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="The folder; build/bitstream/BOARD-PRESET unless given.",
                              show_default=False)
]  # fmt: skip


def bitstream(
    board: BoardName = None, vivado: Vivado = None, preset: Preset = None, config: ConfigFile = None,
    link_only: LinkOnly = False, sdram: SdramMemory = False, block_ram: BlockRam = False, clock: ClockMhz = None,
    baud: Baud = BAUD, seeds: Seeds = 1, seed: FirstSeed = 1, read_errors: ReadErrors = 0.0,
    write_errors: WriteErrors = 0.0, folder: Out = None, json: Json = False,
) -> None:  # fmt: skip
    """Build a bitstream with open tools: synthesis, place and route, timing, a floorplan, and the bits.

    The MRAM macros become block RAM with the device's cycles, by option with errors; external memory is on the chip, or
    with --sdram beside it. A host reaches registers and memory over the board's serial line. Ends with exit code 1 if
    the chip is too small, or the clock too fast, and says what would do.
    """
    if (board is None) == (vivado is None):
        fail("name either --board or --vivado", BAD_INPUT)
    if vivado is not None:
        only_board = {
            "--link-only": link_only, "--sdram": sdram, "--block-ram": block_ram, "--clock": clock is not None,
            "--baud": baud != BAUD, "--seeds": seeds != 1, "--seed": seed != 1, "--read-errors": read_errors,
            "--write-errors": write_errors, "--json": json,
        }  # fmt: skip
        for name, given in only_board.items():
            if given:
                fail(f"{name} is for --board, not for --vivado", BAD_INPUT)
        _vivado(vivado, configuration(preset, config), folder)
        return
    if board not in BOARDS:
        fail(f"board must be one of {', '.join(BOARDS)}, not {board!r}", BAD_INPUT)
    chosen = BOARDS[board]
    machine = configuration(preset, config, otherwise=chosen.preset or SMALLEST)
    nothing_fits = chosen.preset is None and preset is None and config is None
    try:
        machine = replace(machine, clock_mhz=chosen.clock_mhz if clock is None else clock)
        order = Order(
            board=board,
            config=machine,
            machine=not (link_only or nothing_fits),
            seeds=range(seed, seed + seeds),
            sdram=sdram,
            block_ram=block_ram,
            baud=baud,
            timing=bank_timing(machine),
            errors=BankErrors(read=read_errors, write=write_errors),
        )
        require_known_room(order)
    except ValueError as error:
        fail(str(error), BAD_INPUT)
    except CapacityError as error:
        fail(str(error))
    if nothing_fits and not link_only:
        err.print(f"no machine fits {board}: link and memory alone, as with --link-only", style="yellow")
    require("fpga", *PACKAGES, *FAMILIES[chosen.family].packages)
    if sdram:
        require("sdram", *SDRAM_PACKAGES)
    folder = folder or Path("build") / "bitstream" / f"{board}-{order.name}"
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True) as progress:
        step = progress.add_task("", total=None)

        def show(line: str) -> None:
            if line.startswith(_SHOWN):
                progress.update(step, description=line.removeprefix("Info: ")[:80])
            elif line[:1].islower():
                progress.console.print(line, style="dim", markup=False, highlight=False)
                progress.update(step, description=line)

        try:
            result = build(order, folder, show=show)
        except CapacityError as error:
            fail(str(error))
        except FolderError as error:
            fail(str(error), BAD_INPUT)
        except (FlowError, RuntimeError) as error:
            fail(str(error))
    if json:
        print_json(result.report)
    else:
        out.print(describe(result.report), markup=False, highlight=False, soft_wrap=True, end="")
        out.print(f"{folder / FAMILIES[chosen.family].bitstream}", markup=False, highlight=False, soft_wrap=True)
    best = result.best
    if not best.met:
        reached = [choice for choice in order.clock.choices if choice <= best.mhz]
        advice = f"--clock {reached[-1]} would do" if reached else "no clock that the board makes would do"
        path = best.path
        fail(
            f"{order.name} misses {machine.clock_mhz} MHz on {board}: {best.mhz} MHz, the slowest path goes from "
            f"{path['from']} to {path['to']}; {advice}"
        )


def bank_timing(config: AcceleratorConfig) -> BankTiming:
    """Return the cycles that the configuration's device takes at its clock."""
    words = [int(word) for word in table_for(config)]
    write = tuple(tuple(words[WRITE_CYCLES + PULSES * kind :][:PULSES]) for kind in range(3))
    return BankTiming(read=words[READ_CYCLES], write=write)


def _vivado(part: str, config: AcceleratorConfig, folder: Path | None) -> None:
    if part not in PARTS:
        fail(f"vivado must be one of {', '.join(PARTS)}, not {part!r}", BAD_INPUT)
    folder = folder or Path("build") / "vivado" / f"{part}-{config.name}"
    try:
        require_replaceable(folder.absolute())
        files = project(config, PARTS[part], timing=bank_timing(config))
        write_folder(folder, files)
    except FolderError as error:
        fail(str(error), BAD_INPUT)
    for name in files:
        out.print(f"{folder / name}", markup=False, highlight=False, soft_wrap=True)
    out.print("Vivado was not run on these scripts.", style="yellow")
