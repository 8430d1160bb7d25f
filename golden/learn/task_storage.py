# SPDX-License-Identifier: Apache-2.0
"""What a task keeps in a region of its own, so that it stays what it is whatever is learned after it.

All tasks share one frozen backbone with its biases and tables, written once. Beside it a region of the MRAM holds what
differs from task to task:

- the weights that train, twice where errors pass a layer: its transposed image is kept as well;
- the biases that train, a byte each;
- table entries of 9 bytes (bias 32 bits, multiplier 16, shift 6, both limits 9): one for each output channel of the
  convolutions whose weights train, one for each feature, whose mean and deviation are in it, and for each merge that a
  module joins as many as its multipliers (16 bits each), shift and limits fill: one, for up to three operands. A
  module's pool averages alike in all tasks;
- the state of training: 3 bytes for each error edge (shift, whether it is valid, and the exponent it was measured at in
  16 bits), 3 for each trained tensor (the order of its largest gradient in 17 bits, whether there was one), step
  counter and seed in 4 each;
- the check bits of all that, an eighth more.

Left out are the region's header, the padding to whole rows, and the second slot that only the active task has. A float
method keeps its trained parameters in 4 bytes each.
"""

import math
from dataclasses import dataclass

from respin.golden.float_network import FloatNetwork
from respin.golden.learn.methods import Trains
from respin.golden.learn.system_memory import weight_images, weights_learn
from respin.golden.memory.secded import CODE_BITS, DATA_BITS
from respin.golden.network import AveragePool, Convolution, IntegerNetwork, Merge, Upsample
from respin.golden.trainer import trained_tensors

MULTIPLIER_BITS, SHIFT_BITS, LIMIT_BITS, BIAS_BITS = 16, 6, 9, 32
ENTRY_BITS = BIAS_BITS + MULTIPLIER_BITS + SHIFT_BITS + 2 * LIMIT_BITS
EDGE_BYTES, STEP_SCALE_BYTES, COUNTER_BYTES, SEED_BYTES = 3, 3, 4, 4
FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskStorage:
    """Bytes of a task's region: trained weights in all their images, biases, table entries, training's state."""

    weights: int
    biases: int
    tables: int
    state: int

    @property
    def content(self) -> int:
        """All of it, check bits not included."""
        return self.weights + self.biases + self.tables + self.state

    @property
    def check(self) -> int:
        """Its SECDED(72,64) check bits."""
        return -(-self.content * (CODE_BITS - DATA_BITS) // DATA_BITS)

    @property
    def total(self) -> int:
        """All of it."""
        return self.content + self.check


def task_storage(network: IntegerNetwork) -> TaskStorage:
    """Return what a task whose network is ``network`` has for itself."""
    learning = [layer for layer in network.trained if weights_learn(layer)]
    tensors = sum(len(trained_tensors(layer)) for layer in network.trained)
    return TaskStorage(
        weights=sum(weight_images(network, layer) * layer.weight.numel() for layer in learning),
        biases=sum(layer.weight.shape[0] for layer in network.trained),
        tables=ENTRY_BITS // 8 * _entries(network, learning),
        state=EDGE_BYTES * len(network.edges) + STEP_SCALE_BYTES * tensors + COUNTER_BYTES + SEED_BYTES,
    )


def _entries(network: IntegerNetwork, learning: list[Convolution]) -> int:
    """Table entries that differ from task to task."""
    entries = sum(layer.weight.shape[0] for layer in learning)
    features = network.layer(network.convolution(network.loss.logits).x)
    if isinstance(features, AveragePool):
        entries += features.table.bias.numel()
    of_modules = {layer.name for layer in learning}
    of_modules |= {layer.name for layer in network.layers if isinstance(layer, Upsample) and layer.x in of_modules}
    for layer in network.layers:
        if isinstance(layer, Merge) and any(operand.x in of_modules for operand in layer.operands):
            constants = MULTIPLIER_BITS * len(layer.operands) + SHIFT_BITS + 2 * LIMIT_BITS
            entries += math.ceil(constants / ENTRY_BITS)
    return entries


def float_task_storage(network: FloatNetwork, trains: Trains) -> int:
    """Return the bytes of a float method's trained parameters, without those that its tasks share.

    Where everything trains, tasks share the backbone: each has its head alone.
    """
    own = [*network.rep.parameters(), *network.head.parameters()]
    if trains == "biases":
        own += network.biases.values()
    return FLOAT_BYTES * sum(parameter.numel() for parameter in own)
