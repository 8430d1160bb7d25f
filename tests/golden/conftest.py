# SPDX-License-Identifier: Apache-2.0
"""What the tests of the demonstration's network share: it is pretrained once."""

import os
from dataclasses import dataclass

import pytest
import torch

from respin.golden.digits import Backbone, Task, load_task, pretrain
from respin.golden.digits_network import build_network
from respin.golden.network import IntegerNetwork

SEED = int(os.environ.get("RESPIN_SEED", "1"))

# Tensors are small here: threads that share them cost more than they save, above all beside other tests.
torch.set_num_threads(1)


@dataclass(frozen=True)
class Demonstration:
    """Both tasks, the backbone that knows the first, and the network that is to learn the second."""

    old: Task
    new: Task
    backbone: Backbone
    network: IntegerNetwork


@pytest.fixture(scope="session")
def demonstration() -> Demonstration:
    old, new = load_task(0), load_task(5)
    backbone = pretrain(old, seed=SEED)
    network = build_network(backbone, old.train_images, new.train_images, seed=SEED)
    return Demonstration(old=old, new=new, backbone=backbone, network=network)
