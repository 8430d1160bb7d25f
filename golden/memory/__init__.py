# SPDX-License-Identifier: Apache-2.0
"""An independent model of the memory: SECDED, the MTJ array with its faults, and the bank controller on top.

It shares nothing with the hardware but the configuration, and nothing with ``sim`` but the files a bank model takes: a
table of 32-bit words and a defect map (docs/device.md).
"""

from respin.golden.memory.array import Pulse, SasMramArray
from respin.golden.memory.controller import Counters, Memory, Outcome, WriteResult

__all__ = ["Counters", "Memory", "Outcome", "Pulse", "SasMramArray", "WriteResult"]
