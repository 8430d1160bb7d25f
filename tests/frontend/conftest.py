# SPDX-License-Identifier: Apache-2.0
"""What the front end's tests share: the reference modules of the backbones, the machine's benches, one thread."""

import sys
from pathlib import Path

import torch

for folder in ("golden", "cosim"):
    sys.path.append(str(Path(__file__).parents[1] / folder))

# Tensors are small here: threads that share them cost more than they save, above all beside other tests.
torch.set_num_threads(1)
