# SPDX-License-Identifier: Apache-2.0
"""The demo's bench: what runs inside the simulator. Every event goes to a file that the command shows."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

import cocotb
import numpy as np
import torch
from torch import Tensor

from respin.cli.demo.checks import TensorCheck
from respin.cli.demo.mirror import MirroredTransport, MismatchError
from respin.cli.demo.options import ENVIRONMENT, MEMORY_FILES, REFUSED, DemoOptions
from respin.cli.demo.result import DemoResult, ImageRows, JobCycles, StepResult
from respin.cli.hardware import start
from respin.firmware_model.driver import Driver
from respin.firmware_model.placement import Placement
from respin.firmware_model.program import Task
from respin.firmware_model.storage import CapacityError
from respin.firmware_model.training import Report, Session
from respin.golden import digits
from respin.golden.digits_network import SCHEDULE, build_network
from respin.golden.memory import Memory
from respin.golden.network import IntegerNetwork
from respin.golden.trainer import TrainingState, train_step
from respin.rtl.mram.ports import Counters
from respin.sim.banks import Backdoor, dumped_cells
from respin.sim.payload import unpack
from respin.sim.runner import seed
from respin.sim.streams import cycles_of
from respin.sim.tables import FaultRates, table_for

NEW_CLASSES = digits.CLASSES
"""First digit of the task that is learned on the device."""


class Events:
    """Writes what happens as lines of JSON."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("w", encoding="utf-8")

    def emit(self, event: str, **values: Any) -> None:
        """Write one event."""
        self._file.write(json.dumps({"event": event, **values}) + "\n")
        self._file.flush()


class Demo:
    """One run of the demo on the accelerator of this simulation."""

    def __init__(self, dut: Any, options: DemoOptions, transport: Any) -> None:
        self._dut = dut
        self._options = options
        self._folder = Path(options.folder)
        self.events = Events(self._folder / "events.jsonl")
        self.config = options.config
        self._began = time.monotonic()
        self.events.emit("phase", name="pretraining the backbone on digits 0-4 (PyTorch, float)")
        self.task = digits.load_task(NEW_CLASSES)
        self.network = self._make_network()
        shape = (options.batch, 9, digits.SIDE, digits.SIDE)
        try:
            self.placement = Placement(self.config, self.network, shape, training=True)
            self.placement.require_resident()
        except CapacityError as error:
            self.events.emit(REFUSED, message=str(error))
            raise
        rates = FaultRates(write_error=options.write_error, read_error=options.read_error)
        self.memory = Memory(config=self.config, table=table_for(self.config, seed=options.seed, rates=rates))
        self.transport = MirroredTransport(transport, self.memory, self.placement)
        self.session = Session(Driver(self.config, self.transport), self.placement, seed=options.seed)
        self.check = TensorCheck(self.session)
        self.state = TrainingState.initial(self.network, options.seed)
        self._jobs: dict[str, JobCycles] = {}
        self._cycles = 0

    def _make_network(self) -> IntegerNetwork:
        known = digits.load_task(0)
        backbone = digits.pretrain(known, seed=self._options.seed)
        return build_network(backbone, known.train_images, self.task.train_images, seed=self._options.seed)

    async def run(self) -> DemoResult:
        """Provision, measure, train, measure; returns the figures."""
        options = self._options
        result = self._empty_result()
        self.events.emit("phase", name="writing the weights into the array", total=self.placement.rows.used)
        await self.session.provision(self.state.parameters, lambda rows: self.events.emit("rows", done=rows))
        before = self._cells()
        result.accuracy_before = await self._measure("before")
        schedule = replace(SCHEDULE, steps=options.steps)
        order = digits.batch_indices(
            len(self.task.train_labels), steps=options.steps, batch=options.batch, seed=options.seed
        )
        self.events.emit("phase", name="training in the simulated hardware", total=options.steps)
        for step, index in enumerate(order):
            result.steps.append(await self._step(step, index, schedule.log2_rate(step)))
            self.events.emit("step", **asdict(result.steps[-1]))
        result.accuracy_after = await self._measure("after")
        await self._compare_cells()
        np.savez_compressed(self._folder / "cells.npz", before=before, after=self._cells())
        result.jobs = list(self._jobs.values())
        result.memory = self._counters()
        result.simulated_cycles = self._cycles
        result.simulation_seconds = time.monotonic() - self._began
        return result

    def _empty_result(self) -> DemoResult:
        options, trained = self._options, {layer.name for layer in self.network.trained}
        images = [
            ImageRows(name=name, base=base, rows=rows, trained=name.split()[0] in trained)
            for name, (base, rows) in self.placement.rows.images.items()
        ]
        faults = {
            "write error": "the device's" if options.write_error is None else f"{options.write_error:g} per MTJ",
            "read error": "the device's" if options.read_error is None else f"{options.read_error:g} per MTJ",
        }
        return DemoResult(
            preset=self.config.name,
            simulator=options.simulator,
            device=self.config.device,
            seed=options.seed,
            faults=faults,
            versions={"cocotb": cocotb.__version__, "torch": torch.__version__},
            classes=list(range(NEW_CLASSES, NEW_CLASSES + digits.CLASSES)),
            batch=options.batch,
            test_images=len(self.task.test_labels),
            rtl_test_images=options.test_images,
            images=images,
            peak_macs_per_cycle=self.config.peak_macs_per_cycle,
        )

    async def _measure(self, when: str) -> float:
        """Accuracy on the test images: the first ones through the hardware, logits compared, all through golden."""
        options = self._options
        images = digits.pack_windows(self.task.test_images)
        self.events.emit("phase", name=f"test images through the hardware ({when})", total=options.test_images)
        for first in range(0, options.test_images, options.batch):
            batch = images[first : first + options.batch]
            logits = await self.session.infer(batch.numpy())
            golden = self.network.forward(batch, self.state.parameters).tensors[self.network.loss.logits]
            self.check.compare("logits", logits, golden.flatten(1))
            self.events.emit("tested", done=first + len(batch))
        predicted = self.network.predict(images, self.state.parameters)
        share = digits.accuracy(predicted, self.task.test_labels)
        self.events.emit("accuracy", when=when, value=share)
        return share

    async def _step(self, step: int, index: Tensor, log2_rate: int) -> StepResult:
        """One training step in golden, then in the hardware, each tensor compared as soon as it is there."""
        x, labels = digits.pack_windows(self.task.train_images[index]), self.task.train_labels[index]
        record = train_step(self.network, self.state, x, labels, log2_rate=log2_rate)
        self.transport.moves = {
            layer.name: (
                record.updates[f"{layer.name}.weight"].move.numpy(),
                record.updates[f"{layer.name}.bias"].move.numpy(),
            )
            for layer in self.network.trained
            if f"{layer.name}.weight" in record.updates
        }
        cycles, tensors, elements = self._cycles, self.check.tensors, self.check.elements

        async def observe(task: Task, reports: Sequence[Report]) -> None:
            self._account(task, reports)
            await self.check.training(task, reports, record)

        await self.session.train(x.numpy(), labels.tolist(), log2_rate=log2_rate, observe=observe)
        self._compare_counters()
        self.state = record.after
        return StepResult(
            step=step,
            loss=record.cross_entropy,
            accuracy=record.correct / len(labels),
            cycles=self._cycles - cycles,
            tensors=self.check.tensors - tensors,
            elements=self.check.elements - elements,
        )

    def _account(self, task: Task, reports: Sequence[Report]) -> None:
        """Add a task's cycles to those of its kind."""
        name = f"{task.name} (error)" if task.stage == "error" else task.name
        jobs = self._jobs.setdefault(name, JobCycles(name=name, stage=task.stage))
        jobs.runs += len(reports)
        jobs.ideal_cycles += task.macs / self.config.peak_macs_per_cycle
        for report in reports:
            self._cycles += report["cycles"]
            jobs.cycles += report["cycles"]
            jobs.starved_rows += report["starved_rows"]
            jobs.starved_words += report["starved_words"]
            jobs.stalled += report["stalled"]

    def _counters(self) -> dict[str, int]:
        counters: dict[str, int] = unpack(Counters, int(self._dut.counters.value))
        return counters

    def _compare_counters(self) -> None:
        """Every event counter of the bank controller must be golden's."""
        got, want = self._counters(), self.memory.counters
        for name, value in got.items():
            if value != getattr(want, name):
                raise MismatchError(f"counter {name}: hardware {value}, golden {getattr(want, name)}")

    def _cells(self) -> np.ndarray:
        """Raw bits of every row in use, (rows, 288), by global row, as golden holds them."""
        banks = self.config.banks
        return np.stack([self.memory.banks[row % banks].cells[row // banks] for row in range(self.placement.rows.used)])

    async def _compare_cells(self) -> None:
        """Every cell of every bank must be golden's, written errors and all."""
        self.events.emit("phase", name="comparing every cell of the array")
        dut = self._dut
        dut.backdoor_op.value = int(Backdoor.DUMP)
        await cycles_of(dut, 1)
        dut.backdoor_op.value = int(Backdoor.NONE)
        await cycles_of(dut, 1)
        for bank, model in enumerate(self.memory.banks):
            cells = dumped_cells(self._folder / MEMORY_FILES, bank)
            self.check.compare(f"cells of bank {bank}", cells, torch.from_numpy(model.cells))


@cocotb.test()
async def demo(dut: Any) -> None:
    """Train the Rep-Net module of the digits network."""
    options = DemoOptions.read(Path(os.environ[ENVIRONMENT]))
    assert options.seed == seed()
    run = Demo(dut, options, await start(dut))
    try:
        result = await run.run()
    except Exception as error:
        run.events.emit("failed", message=str(error))
        raise
    result.write(Path(options.folder) / "result.json")
    run.events.emit("done")
