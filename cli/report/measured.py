# SPDX-License-Identifier: Apache-2.0
"""What a program does by the machine's own counters, while it runs on the compiled machine."""

from collections import Counter
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from respin.cli.runner import Runner
from respin.cli.train_rtl import FIRST_RATE, LAST_RATE
from respin.firmware_model.compiler import INFER, TRAIN
from respin.golden.schedule import Schedule
from respin.rtl.config import STRIPS, AcceleratorConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Wear:
    """Pulses that a training's steps gave to strips.

    Parameters
    ----------
    steps:
        Training steps.
    pulses:
        Of all strips, by the machine's counter.
    strips:
        Strips that may be written.
    hottest:
        In how many steps the strip changed that changed in most of them.
    changed:
        Changes of strips from step to step, of all of them.
    """

    steps: int
    pulses: int
    strips: int
    hottest: int
    changed: int

    @property
    def hottest_per_step(self) -> float:
        """Pulses a step of the most used strip; those that a step's changes do not show are spread over the changes."""
        return self.hottest * max(1.0, self.pulses / self.changed if self.changed else 0.0) / self.steps

    @property
    def mean_per_step(self) -> float:
        """Pulses a step of a strip, the mean of those that may be written."""
        return self.pulses / (self.strips * self.steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Counts of one run of each program, the mean of a training's steps, and the wear of training, if there was any."""

    counters: dict[str, dict[str, float]]
    wear: Wear | None


def measure(program: Path, pictures: Path, *, steps: int, settle: int) -> Measured:
    """Run a batch of inference and, where the program learns, ``steps`` training steps after ``settle`` uncounted ones.

    Raises
    ------
    respin.firmware_model.image.ImageError, ValueError, respin.golden.data.SourceError
        One line on what is wrong with program or pictures.
    """
    runner = Runner.of_file(program, pictures)
    learns = TRAIN in runner.image.programs and steps > 0
    batches = list(islice(runner.pictures.training_batches(seed=1), settle + steps)) if learns else []
    places = next(runner.pictures.batches(runner.batch))
    runner.pictures.require_readable(chain(places, *batches))
    runner.start(honest=False)
    with runner.progress("a batch of inference"):
        runner.infer(runner.pictures.take(places).numpy())
    counters: dict[str, dict[str, float]] = {INFER: {**runner.counters()}}
    if not learns:
        return Measured(counters=counters, wear=None)
    found: Counter[str] = Counter()
    written = _writable(runner)
    before, changes = _strips(runner, written), np.zeros((len(written), STRIPS), dtype=np.int64)
    schedule = Schedule(steps=steps, first=FIRST_RATE, last=LAST_RATE)
    for step, batch in zip(range(-settle, steps), batches, strict=True):
        with runner.progress(f"step {step} of {steps}" if step >= 0 else "scales settle"):
            x, labels = runner.pictures.take(batch).numpy(), runner.pictures.labels[batch].tolist()
            runner.train(x, labels, log2_rate=schedule.log2_rate(max(step, 0)))
        if step < 0:
            before = _strips(runner, written)
            continue
        found.update(runner.counters())
        after = _strips(runner, written)
        changes += after != before
        before = after
    counters[TRAIN] = {name: found[name] / steps for name in found}
    wear = Wear(
        steps=steps, pulses=found["strips_pulsed"], strips=changes.size, hottest=int(changes.max(initial=0)),
        changed=int(changes.sum()),
    )  # fmt: skip
    return Measured(counters=counters, wear=wear)


def counts(config: AcceleratorConfig, counters: dict[str, float]) -> dict[str, float]:
    """Return the events of :data:`respin.sim.cost.EVENTS` that the machine's counters tell.

    A write reads its row to compare, and again after each attempt: twice, and once more for each retry. One that finds
    nothing to change reads once; no counter tells them apart, so ``rows_verified`` is an upper bound.
    """
    busy, sums = counters["engine_busy"], config.slices * config.pixels
    return {
        "cycles": counters["cycles"],
        "lane_cycles": counters["cycles"] * sums * config.lanes,
        "rows_read": counters["rows_read"],
        "rows_verified": 2 * counters["rows_written"] + counters["retries"],
        "strips_pulsed": counters["strips_pulsed"],
        "engine_cycles": busy,
        "bit_macs": busy * sums * config.lanes,
        "accumulations": busy * sums,
        "external_bytes": counters["dma_bytes_read"] + counters["dma_bytes_written"],
    }


def _writable(runner: Runner) -> NDArray[np.int64]:
    return np.array(runner.image.writable_rows(TRAIN), dtype=np.int64)


def _strips(runner: Runner, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The four bits of each strip of some rows as a number, (rows, 72)."""
    cells = runner.machine.cells()[rows].reshape(len(rows), STRIPS, 4)
    return (cells << np.arange(4, dtype=np.uint8)).sum(axis=2).astype(np.uint8)
