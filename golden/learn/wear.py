# SPDX-License-Identifier: Apache-2.0
"""What a training writes into the array, tensor by tensor."""

from respin.golden.memory.wear import Wear, WearCounter
from respin.golden.network import IntegerNetwork, Merge, needs_error
from respin.golden.trainer import StepRecord, trained_tensors


def _passed(network: IntegerNetwork) -> set[str]:
    """Names of the layers whose input has an error, so that their transposed image is kept too."""
    reached = needs_error(network.layers)
    return {
        layer.name
        for layer in network.layers
        if not isinstance(layer, Merge) and layer.x in reached and layer.name in reached
    }


class LearningWear:
    """Counts the writes of every trained tensor of a network, step by step."""

    def __init__(self, network: IntegerNetwork) -> None:
        passed = _passed(network)
        self._counters: dict[str, WearCounter] = {}
        for layer in network.trained:
            for name in trained_tensors(layer):
                weights = name.endswith(".weight")
                self._counters[name] = WearCounter(
                    groups=layer.groups if weights else 1, transposed=weights and layer.name in passed
                )

    def count(self, record: StepRecord) -> None:
        """Count what a step wrote."""
        for name, update in record.updates.items():
            layer, _, part = name.rpartition(".")
            before = getattr(record.before.parameters[layer], part)
            after = update.value
            if before.dim() == 1:
                before, after = before[None, :, None, None], after[None, :, None, None]
            self._counters[name].count(before, after)

    def figures(self) -> dict[str, int]:
        """Return rows, bytes, strips (in Gray code too), weights, and the pulses of the strip pulsed most often."""
        wears: list[Wear] = [counter.wear for counter in self._counters.values()]
        return {
            "rows": sum(wear.rows for wear in wears),
            "bytes": sum(wear.bytes_written for wear in wears),
            "gray_strips": sum(wear.gray_strips for wear in wears),
            "strips": sum(wear.strips for wear in wears),
            "weights": sum(wear.weights for wear in wears),
            "most": max((wear.most for wear in wears), default=0),
        }
