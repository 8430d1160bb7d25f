# SPDX-License-Identifier: Apache-2.0
"""Benches of the machine's own Verilog, which netlists run as well."""

import sys
from pathlib import Path

BENCHES = str(Path(__file__).parents[1] / "cosim")

sys.path.insert(0, BENCHES)
