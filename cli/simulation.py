# SPDX-License-Identifier: Apache-2.0
"""The accelerator in a simulator: generated, wrapped with its bank models and built."""

from respin.gen.emit import emit
from respin.rtl.config import AcceleratorConfig
from respin.rtl.top import Accelerator
from respin.sim.banks import BANK_MODEL, with_banks
from respin.sim.runner import Build, build

TOP = "respin"


def build_accelerator(config: AcceleratorConfig, simulator: str, *, optimise: bool = True) -> Build:
    """Generate the accelerator and build its simulation, with a bank model on each group of bank pins.

    ``optimise`` spends longer in the compiler for a faster simulation, which pays for more than some 100,000 cycles.
    """
    verilog = emit(Accelerator(config=config), TOP, config=config)
    texts = with_banks(verilog, TOP, rows=config.mram_rows)
    return build("bench", texts, simulator=simulator, files=[BANK_MODEL], optimise=optimise, held=True)
