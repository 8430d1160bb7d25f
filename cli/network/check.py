# SPDX-License-Identifier: Apache-2.0
"""Compares what a program makes in the machine with golden, tensor by tensor, while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from respin.cli.machine import rows_of
from respin.firmware_model.layout import IntArray, StoreTensor, blocks, mask_words, words_mask, words_tensor
from respin.firmware_model.made import Made
from respin.firmware_model.placement import Placement
from respin.firmware_model.program import Setting
from respin.firmware_model.structures import from_bits
from respin.golden.network import Activations, Edge, FanInEdge, Gradient, Loss
from respin.golden.trainer import EdgeRecord, StepRecord, TrainingState
from respin.rtl.config import BLOCK
from respin.rtl.sequencer.ports import EdgeNote
from respin.sim.compiled import CompiledMachine, Ending

SHOWN = 20
"""Differences that are kept; all are counted."""


@dataclass(slots=True)
class Comparison:
    """What was compared so far, and what differed."""

    tensors: int = 0
    numbers: int = 0
    different: int = 0
    differences: list[str] = field(default_factory=list)

    def equal(self, what: str, got: IntArray, want: IntArray) -> None:
        """Compare a tensor or a part of one."""
        self.numbers += want.size
        if got.shape != want.shape:
            self._note(f"{what}: shape {got.shape}, golden has {want.shape}")
        elif not np.array_equal(got, want):
            wrong = np.argwhere(np.asarray(got) != want)
            at = tuple(int(place) for place in wrong[0])
            self._note(f"{what}: {len(wrong)} of {want.size} differ, first at {at}: {got[at]}, golden has {want[at]}")

    def same(self, what: str, got: object, want: object) -> None:
        """Compare a single value."""
        self.numbers += 1
        if got != want:
            self._note(f"{what}: {got}, golden has {want}")

    def _note(self, difference: str) -> None:
        self.different += 1
        if len(self.differences) < SHOWN:
            self.differences.append(difference)


class Watcher:
    """Looks at the machine at the end of every descriptor of a program.

    Parameters
    ----------
    machine:
        The machine; set :attr:`respin.sim.compiled.CompiledMachine.on_descriptor` to :meth:`see`.
    placement:
        The network and where its parts lie.
    made:
        What each job of the program makes.
    want:
        What golden made of the same batch.
    comparison:
        What the result goes to.
    """

    def __init__(
        self,
        machine: CompiledMachine,
        placement: Placement,
        made: Mapping[int, Made],
        want: StepRecord | Activations,
        comparison: Comparison,
    ) -> None:
        self._machine, self._place, self._made, self._comparison = machine, placement, made, comparison
        self._activations = want.activations if isinstance(want, StepRecord) else want
        self._step = want if isinstance(want, StepRecord) else None
        self.edges_run = 0

    def see(self, ending: Ending) -> None:
        """Compare what a descriptor made."""
        made = self._made.get(ending.index)
        if made is None:
            return
        operation = made.operation
        self._comparison.same(f"{operation.name} runs", ending.ran, self._runs(made))
        if made.ends and isinstance(operation.item, Edge | FanInEdge):
            self._compare_scale(operation.item, ending)
        if ending.ran and made.part_ends and operation.result is not None:
            self._compare(made)
            self._comparison.tensors += made.ends

    def _runs(self, made: Made) -> bool:
        """Whether golden ran it."""
        item = made.operation.item
        if self._step is None:
            return True
        if isinstance(item, Edge | FanInEdge):
            return item.name in self._step.edges
        if isinstance(item, Gradient):
            return f"{item.layer}.weight" in self._step.updates
        return True

    def _compare(self, made: Made) -> None:
        setting, name = made.setting, made.operation.result
        assert name is not None
        want = self._golden(made)[_region(setting)].numpy()
        self._comparison.equal(name, self._read(setting), want)
        mask = self._activations.masks.get(name)
        if made.operation.mask == name and mask is not None:
            want = mask[_region(setting)].numpy().astype(bool)
            self._comparison.equal(f"{name}.mask", self._read_mask(setting), want)

    def _golden(self, made: Made) -> torch.Tensor:
        name = made.operation.result
        assert name is not None
        if not isinstance(made.operation.item, Edge | FanInEdge | Loss):
            return self._activations.tensors[name]
        assert self._step is not None
        return self._step.errors[name]

    def _read(self, setting: Setting) -> IntArray:
        out = setting.out
        first, end = _channels(setting)
        tensor = StoreTensor(0, (out.shape[0], end - first, *out.shape[2:]), out.signed)
        bases = [out.block_base(block) for block in range(first // BLOCK, blocks(end))]
        return words_tensor(self._words(bases, out.pixels), tensor)

    def _read_mask(self, setting: Setting) -> IntArray:
        assert setting.mask is not None
        base, stride = setting.mask
        out = setting.out
        first, end = _channels(setting)
        tensor = StoreTensor(0, (out.shape[0], end - first, *out.shape[2:]), out.signed)
        bases = [base + block * stride for block in range(first // BLOCK, blocks(end))]
        return words_mask(self._words(bases, mask_words(tensor)), tensor)

    def _words(self, bases: list[int], count: int) -> list[int]:
        raw = np.concatenate([self._machine.store_words(base, count) for base in bases])
        return [int.from_bytes(word.tobytes(), "little") for word in raw]

    def _compare_scale(self, edge: Edge | FanInEdge, ending: Ending) -> None:
        """What the sequencer notes of a tensor of errors: its scale, its exponent, the shift it was rounded with."""
        assert self._step is not None
        note: dict[str, Any] = from_bits(EdgeNote, ending.note)
        same, name = self._comparison.same, edge.name
        same(f"{name} noted", (note["valid"], note["tensor"]), (1, edge.tensor))
        ran: EdgeRecord | None = self._step.edges.get(name)
        if ran is None:
            same(f"{name} usable", note["state"]["usable"], 0)
            return
        same(f"{name} usable", bool(note["state"]["usable"]), ran.before.valid)
        same(f"{name} measured", bool(note["measured"]), ran.result.largest != 0)
        if note["measured"]:
            same(f"{name} incoming exponent", note["incoming"], ran.after.exponent)
        if ran.before.valid:
            self.edges_run += 1
            same(f"{name} shift", note["shift"], ran.shift)
            same(f"{name} exponent", note["state"]["exponent"], ran.result.exponent)
            same(f"{name} alive", bool(note["state"]["alive"]), bool(ran.result.error.any()))


def compare_learned(
    machine: CompiledMachine, placement: Placement, state: TrainingState, comparison: Comparison
) -> None:
    """Compare what lies in the array with golden: weights, biases and transposed images of the trained layers."""
    array = rows_of(machine)
    for layer in placement.network.trained:
        learned = state.parameters[layer.name]
        base, count = placement.rows.images[layer.name]
        rows = array[base : base + count]
        comparison.equal(
            f"{layer.name}.weight", placement.learned_weight(layer.name, rows).numpy(), learned.weight.numpy()
        )
        base, count = placement.rows.images[f"{layer.name} bias"]
        rows = array[base : base + count]
        comparison.equal(f"{layer.name}.bias", placement.learned_bias(layer.name, rows).numpy(), learned.bias.numpy())
        comparison.tensors += 2
        if starts := placement.transposed_images(layer.name):
            images = placement.transposed_rows(layer, learned.weight.numpy())
            for base, image in zip(starts, images, strict=True):
                comparison.equal(f"{layer.name} transposed", array[base : base + len(image)], image)
                comparison.tensors += 1


def _channels(setting: Setting) -> tuple[int, int]:
    return setting.part.channels or (0, setting.part.shape[1])


def _region(setting: Setting) -> tuple[slice, ...]:
    """Where the part lies in its tensor (N, C, H, W)."""
    part, (images, _, rows, _) = setting.part, setting.out.shape
    first, end = _channels(setting)
    return (slice(part.image, part.image + images), slice(first, end), slice(part.row, part.row + rows))
