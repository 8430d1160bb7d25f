# SPDX-License-Identifier: Apache-2.0
"""A network on the machine and in golden, side by side."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from respin.cli.console import err
from respin.cli.machine import compiled_machine, provision_without_writing
from respin.cli.network.account import Account
from respin.cli.network.check import Comparison, Watcher, compare_learned
from respin.firmware_model.compiler import INFER, TRAIN, Compiler
from respin.firmware_model.machine import Machine, ProgramSession
from respin.firmware_model.made import made_by
from respin.firmware_model.placement import Placement
from respin.firmware_model.scaling import scaling_of_training
from respin.golden.backbones import load_backbone
from respin.golden.data import load_dataset
from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.experiment import Conditions
from respin.golden.learn.methods import IntegerMethod, Plan
from respin.golden.network import IntegerNetwork
from respin.golden.schedule import Schedule
from respin.golden.trainer import TrainingState, settle, train_step
from respin.rtl.config import AcceleratorConfig
from respin.sim.compiled import CompiledMachine, drive

Say = Callable[[str], None]
SCHEDULE = Schedule(steps=1000, first=-4.0, last=-8.0)
"""How the rate falls in a training of this length, of which a trial takes the first steps."""


@dataclass(slots=True, kw_only=True)
class Trial:
    """A network, its images and where its training stands.

    Parameters
    ----------
    config, network:
        The machine and the network.
    images, labels:
        Of the training: input of the network (N, C, H, W), and classes (N,).
    batch:
        Images in a step.
    state:
        Where golden's training stands, and the machine's.
    """

    config: AcceleratorConfig
    network: IntegerNetwork
    images: torch.Tensor
    labels: torch.Tensor
    batch: int
    state: TrainingState
    say: Say
    comparison: Comparison = field(default_factory=Comparison)
    placement: Placement = field(init=False)
    machine: CompiledMachine = field(init=False)
    session: ProgramSession = field(init=False)

    @classmethod
    def make(
        cls,
        config: AcceleratorConfig,
        backbone: str,
        dataset: str,
        *,
        size: int,
        batch: int,
        seed: int,
        settled: int,
        say: Say,
    ) -> "Trial":
        """Quantise a backbone with its Rep-Net modules, and let golden take ``settled`` steps.

        Raises
        ------
        SourceError, ValueError
            If weights or images cannot be had.
        """
        loaded = load_backbone(backbone, say)
        task = Conditions(backbone=backbone, dataset=dataset, size=size).cut(load_dataset(dataset, say), seed)
        method = METHODS["rep-net"]
        assert isinstance(method, IntegerMethod)
        say("quantising the network ...")
        network = method.network(loaded, task, Plan(steps=SCHEDULE.steps, batch=batch, seed=seed))
        return cls.of_network(
            config, network, loaded.input.to_integer(task.train.images), task.train.labels,
            batch=batch, seed=seed, settled=settled, say=say,
        )  # fmt: skip

    @classmethod
    def of_network(
        cls,
        config: AcceleratorConfig,
        network: IntegerNetwork,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        batch: int,
        seed: int,
        settled: int,
        say: Say,
    ) -> "Trial":
        """Make a trial of a network and images for it.

        With ``settled`` golden takes so many steps first (:func:`respin.golden.trainer.settle`).
        """
        trial = cls(
            config=config, network=network, images=images, labels=labels, batch=batch,
            state=TrainingState.initial(network, seed), say=say,
        )  # fmt: skip
        if settled:
            began = time.perf_counter()
            batches = (trial.batch_of(step) for step in range(settled))
            trial.state = settle(network, batches, seed=seed, log2_rate=SCHEDULE.log2_rate)
            valid = sum(scale.valid for scale in trial.state.scales.values())
            say(f"golden: {settled} steps, {time.perf_counter() - began:.0f} s; {valid} of {len(network.edges)} scales")
        return trial

    def batch_of(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch of a step."""
        index = torch.arange(step * self.batch, (step + 1) * self.batch) % len(self.labels)
        return self.images[index], self.labels[index]

    def start(self, *, honest: bool, training: bool = True) -> None:
        """Compile program and machine, for inference alone or for ``training`` as well; the machine then stands where
        golden does.

        Raises
        ------
        CapacityError
            If the network does not fit the machine.
        """
        began = time.perf_counter()
        shape = (self.batch, *self.images.shape[1:])
        self.placement = Placement(self.config, self.network, shape, training=training)
        image = Compiler(self.placement).compile(
            self.state.parameters, scaling=scaling_of_training(self.network, self.state)
        )
        counts = " and ".join(f"{image.count(name):,}" for name in (INFER, TRAIN) if name in image.programs)
        self.say(
            f"program: {self.placement.rows.used:,} rows, {counts} descriptors, {image.memory / 1e6:.1f} MB of"
            f" external memory, {time.perf_counter() - began:.0f} s"
        )
        began = time.perf_counter()
        self.machine = compiled_machine(self.config, memory=image.base + image.memory)
        self.say(f"machine: generated and compiled, or found so, {time.perf_counter() - began:.0f} s")
        machine = Machine(self.config, self.machine)
        self.session = ProgramSession(machine, image, seed=self.state.seed, step=self.state.step)
        began, cycles = time.perf_counter(), self.machine.cycles
        if honest:
            drive(self.session.provision())
        else:
            provision_without_writing(self.session, self.machine)
        self.say(f"provisioned in {self.machine.cycles - cycles:,} cycles, {time.perf_counter() - began:.1f} s")

    def infer(self) -> dict[str, Any]:
        """Run the network forward, on both sides; returns the run's figures."""
        x, _ = self.batch_of(self.state.step)
        want = self.network.forward(x, self.state.parameters)
        watcher = self._watch(INFER, want)
        row = self._run(INFER, watcher, lambda: drive(self.session.infer(x.numpy())))
        got = drive(self.session.logits())
        self.comparison.equal("logits", got, want.tensors[self.network.loss.logits].flatten(1).numpy())
        return row

    def train(self) -> dict[str, Any]:
        """Take a training step, on both sides; returns the run's figures."""
        x, labels = self.batch_of(self.state.step)
        log2_rate = SCHEDULE.log2_rate(self.state.step)
        record = train_step(self.network, self.state, x, labels, log2_rate=log2_rate)
        watcher = self._watch(TRAIN, record)
        step = self.session.train(x.numpy(), labels.tolist(), log2_rate=log2_rate)
        row = self._run(TRAIN, watcher, lambda: drive(step))
        row |= {"edges_run": watcher.edges_run, "right": record.correct}
        compare_learned(self.machine, self.placement, record.after, self.comparison)
        self.state = record.after
        return row

    def _watch(self, program: str, want: Any) -> Watcher:
        made = made_by(self.session.image, self.placement, program)
        return Watcher(self.machine, self.placement, made, want, self.comparison)

    def _run(self, program: str, watcher: Watcher, run: Callable[[], object]) -> dict[str, Any]:
        began, first, looked = time.perf_counter(), self.machine.cycles, 0.0
        image = self.session.image
        count, training = image.count(program), program == TRAIN
        made = made_by(image, self.placement, program)
        account = Account(self.placement, image.descriptors(program), made, training=training, cycle=first)
        with err.status(program) as status:

            def see(ending: Any) -> None:
                nonlocal looked
                start = time.perf_counter()
                account.add(ending)
                watcher.see(ending)
                status.update(f"{program}: descriptor {ending.index} of {count}, {ending.cycle - first:,} cycles")
                looked += time.perf_counter() - start

            self.machine.on_descriptor = see
            run()
            self.machine.on_descriptor = None
        cycles = self.machine.cycles - first
        seconds = time.perf_counter() - began - looked
        macs = sum(taken.macs for taken in account.figures().values())
        return {
            "program": program,
            "step": self.state.step,
            "cycles": cycles,
            "cycles_per_image": round(cycles / self.batch),
            "macs": macs,
            "utilisation": macs / (self.config.peak_macs_per_cycle * cycles),
            "cycles_per_second": round(cycles / seconds),
            "operations": account.operations(),
            "parts": account.parts(cycles),
        }
