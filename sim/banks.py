# SPDX-License-Identifier: Apache-2.0
"""A bench around a design: one bank model on each group of bank pins, everything else passed through.

>>> texts = with_banks(emit(dut, "dut"), "dut", rows=512)
>>> built = build("bench", texts, simulator="verilator", files=[BANK_MODEL])
>>> run(built, "tb_something", tests=1, plusargs=model_plusargs(folder, table=table))
"""

import re
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

import numpy as np

from respin.sim.array import Statistics
from respin.sim.bench_text import Port, bench_text, instance, vector
from respin.sim.defects import read_rows, write_defects, write_rows
from respin.sim.tables import write_table

BANK_MODEL = Path(__file__).parent / "verilog" / "sas_mram_bank.v"
"""The Verilog model of one bank."""
STATISTICS_BITS = 32 * len(Statistics.__dataclass_fields__)

_PINS = ("cmd", "row", "strip_mask", "wdata", "pulse", "test_mode", "busy", "rdata", "rvalid", "power_good")


class Backdoor(IntEnum):
    """Values of the bench's ``backdoor_op``. POKE acts on ``backdoor_bank``, the others on every bank.

    POKE writes ``backdoor_wdata`` into ``backdoor_row``. LOAD reads defects and cells from their files again, DUMP
    writes the cells to theirs, RELOAD reads the table (commands count from 0 again), AGE lets one ageing step pass,
    CLEAR zeroes the statistics, CUT takes the power away. Each acts at every clock edge at which it stands on the port.
    """

    NONE = 0
    POKE = 1
    LOAD = 2
    DUMP = 3
    RELOAD = 4
    AGE = 5
    CLEAR = 6
    CUT = 7


def _ports(verilog: str, module: str) -> list[Port]:
    """Ports of a module as Amaranth writes them: ``input [7:0] name;``, a line each."""
    body = re.search(rf"^module {re.escape(module)}\b.*?^endmodule", verilog, re.DOTALL | re.MULTILINE)
    if body is None:
        raise ValueError(f"module must be one of the Verilog text, not {module!r}")
    found = re.findall(r"^ *(input|output) (?:\[(\d+):0\] )?(\w+);", body[0], re.MULTILINE)
    return [Port(name=name, direction=direction, width=int(top or 0) + 1) for direction, top, name in found]


def _bank_groups(ports: Sequence[Port]) -> list[str]:
    """Prefixes of the groups of bank pins, those of an array in the order of their numbers."""
    names = {port.name for port in ports}
    groups = [name.removesuffix("strip_mask") for name in names if name.endswith("strip_mask")]
    for group in groups:
        missing = [pin for pin in _PINS if group + pin not in names]
        if missing:
            raise ValueError(f"pins {group}* must be a whole group of bank pins; {', '.join(missing)} is missing")
    return sorted(groups, key=lambda group: [(int(part) if part.isdigit() else -1, part) for part in group.split("__")])


def _instance(number: int, group: str, rows: int, row_bits: int, model_row_bits: int) -> str:
    pad = f"{{{{{model_row_bits - row_bits}{{1'b0}}}}, {group}row}}" if model_row_bits > row_bits else f"{group}row"
    pins = [
        *((pin, group + pin) for pin in _PINS if pin != "row"),
        ("clk", "clk"),
        ("rst", "rst"),
        ("row", pad),
        ("protocol_error", f"protocol_errors[{number}]"),
        ("backdoor_op", f"backdoor_op == {Backdoor.POKE} && backdoor_bank != {number} ? 3'd0 : backdoor_op"),
        ("backdoor_row", "backdoor_row"),
        ("backdoor_wdata", "backdoor_wdata"),
        ("backdoor_rdata", f"rdata_of[{number}]"),
        ("statistics", f"statistics_of[{number}]"),
    ]
    parameters = f".ROWS({rows}), .ROW_BITS({model_row_bits}), .BANK({number})"
    return instance(f"sas_mram_bank #({parameters})", f"bank_{number}", pins)


def with_banks(verilog: str, module: str, *, rows: int, bench: str = "bench") -> dict[str, str]:
    """Return Verilog texts by file name: the design, and a module ``bench`` with it and its banks.

    Parameters
    ----------
    verilog:
        The design, as :func:`respin.gen.emit` gives it.
    module:
        Name of its top module. Every group of its ports that ends in the names of the bank pins gets a bank; they are
        numbered in the order of their names.
    rows:
        Rows of a bank.
    bench:
        Name of the new top module. It has the design's other ports, and
        ``backdoor_op`` (:class:`Backdoor`), ``backdoor_bank`` [8], ``backdoor_row``, ``backdoor_wdata`` [288],
        ``backdoor_rdata`` [288] (cells of that row of that bank, at once), ``statistics`` [320] (of that bank, in the
        order of :class:`respin.sim.array.Statistics`), ``protocol_error`` (of any bank, until reset).

    Raises
    ------
    ValueError
        If there is no such module, or it has no whole group of bank pins.
    """
    ports = _ports(verilog, module)
    groups = _bank_groups(ports)
    if not groups:
        raise ValueError(f"module {module} must have bank pins, and has none")
    of_banks = {group + pin for group in groups for pin in _PINS}
    row_bits = next(port.width for port in ports if port.name == groups[0] + "row")
    model_row_bits = max(row_bits, (rows - 1).bit_length(), 1)
    outer = [port for port in ports if port.name not in of_banks] + [
        Port(name="backdoor_op", direction="input", width=3),
        Port(name="backdoor_bank", direction="input", width=8),
        Port(name="backdoor_row", direction="input", width=model_row_bits),
        Port(name="backdoor_wdata", direction="input", width=288),
        Port(name="backdoor_rdata", direction="output", width=288),
        Port(name="statistics", direction="output", width=STATISTICS_BITS),
        Port(name="protocol_error", direction="output", width=1),
    ]
    count = len(groups)
    body = [
        *(f"    {port.net('wire')};" for port in ports if port.name in of_banks),
        f"    wire [{count - 1}:0] protocol_errors;",
        f"    wire [287:0] rdata_of [0:{count - 1}];",
        f"    wire {vector(STATISTICS_BITS)}statistics_of [0:{count - 1}];",
        "    assign protocol_error = |protocol_errors;",
        "    assign backdoor_rdata = rdata_of[backdoor_bank];",
        "    assign statistics = statistics_of[backdoor_bank];",
        instance(module, "dut", [(port.name, port.name) for port in ports]),
        *(_instance(number, group, rows, row_bits, model_row_bits) for number, group in enumerate(groups)),
    ]
    says = "Generated by respin.sim.banks: a design with its bank models."
    return {f"{module}.v": verilog, f"{bench}.v": bench_text(bench, outer, body, says=says)}


def model_plusargs(
    folder: Path,
    *,
    table: np.ndarray | None = None,
    cells: Sequence[np.ndarray] | None = None,
    defects: Sequence[np.ndarray] | None = None,
) -> list[str]:
    """Write the bank models' files into a folder and return the plusargs that name them.

    Parameters
    ----------
    folder:
        Where the files go; it is made if it is not there. Dumped cells come here too (:func:`dumped_cells`).
    table:
        Words of :mod:`respin.sim.tables`; a plain memory if left out.
    cells:
        For each bank its cells to begin with, ``uint8[rows, 288]``; all 0 if left out.
    defects:
        For each bank its defect map; none if left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plusargs = [f"+mram_dump={folder}/dump"]
    if table is not None:
        write_table(table, folder / "table.hex")
        plusargs.append(f"+mram_table={folder}/table.hex")
    if cells is not None:
        for bank, rows in enumerate(cells):
            write_rows(rows, folder / f"cells{bank}.hex")
        plusargs.append(f"+mram_cells={folder}/cells")
    if defects is not None:
        for bank, rows in enumerate(defects):
            write_defects(rows, folder / f"defects{bank}.hex")
        plusargs.append(f"+mram_defects={folder}/defects")
    return plusargs


def dumped_cells(folder: Path, bank: int) -> np.ndarray:
    """The cells of a bank that a DUMP wrote, ``uint8[rows, 288]``, without stuck cells laid over them."""
    return read_rows(folder / f"dump{bank}.hex")
