# SPDX-License-Identifier: Apache-2.0
"""The maintained memory without power: nothing is taken for empty that could not be read, and no request hangs."""

from dataclasses import replace

import pytest
from amaranth.sim import Simulator, SimulatorContext
from mram_bench import PlainBank, columns_of

from respin.golden.memory.spares import SpareMap
from respin.rtl.config import AcceleratorConfig
from respin.rtl.mram.memory import MaintainedMemory
from respin.rtl.mram.ports import ErrorKind, Outcome
