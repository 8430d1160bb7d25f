# SPDX-License-Identifier: Apache-2.0
import pytest

from respin.gen.emit import emit
from respin.rtl.fpga.spram import CELL_BYTES, CELLS, Spram
from respin.sim.cell_models import cell_models
from respin.sim.runner import build, run


@pytest.mark.parametrize(("bits", "size"), [(32, 2 * CELL_BYTES), (32, CELLS * CELL_BYTES), (64, CELLS * CELL_BYTES)])
def test_keeps_what_is_written(bits: int, size: int) -> None:
    """Against Yosys' model of the cell; on Icarus, as that says X of what it does not say."""
    text = emit(Spram(data_bits=bits, size=size), "spram")
    dut = build("spram", {"spram.v": text, "cells.v": cell_models("ice40", text)}, simulator="icarus")
    run(dut, "tb_spram", tests=1, env={"SPRAM_BITS": str(bits), "SPRAM_BYTES": str(size)})


@pytest.mark.parametrize(("bits", "size", "allowed"), [
    (32, 4096, "65536..131072 for words of 32 bits"),
    (64, 1 << 16, "131072..131072 for words of 64 bits"),
    (32, 1 << 18, "65536..131072 for words of 32 bits"),
])  # fmt: skip
def test_what_the_cells_cannot_hold_is_refused(bits: int, size: int, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"size must be in {allowed}, not {size}"):
        Spram(data_bits=bits, size=size)
