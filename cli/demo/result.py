# SPDX-License-Identifier: Apache-2.0
"""What the demo leaves behind: the figures of a run, as plain data that JSON holds."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(slots=True, kw_only=True)
class StepResult:
    """One training step in the simulated hardware."""

    step: int
    loss: float
    """Mean cross-entropy of the batch, in nats, from the integer logits."""
    accuracy: float
    """Fraction of the batch that was right before the step."""
    cycles: int
    tensors: int
    """Tensors that were compared with golden in this step."""
    elements: int
    """Numbers in them."""


@dataclass(slots=True, kw_only=True)
class JobCycles:
    """Cycles of one kind of job of the network, over the whole run."""

    name: str
    stage: str
    """forward, error, gradient, update or other."""
    runs: int = 0
    cycles: int = 0
    ideal_cycles: float = 0.0
    """MACs of the job over the preset's peak; 0 where the engine does not work."""
    starved_rows: int = 0
    starved_words: int = 0
    stalled: int = 0


@dataclass(slots=True, kw_only=True)
class ImageRows:
    """A range of MRAM rows that belong together."""

    name: str
    base: int
    rows: int
    trained: bool


@dataclass(slots=True, kw_only=True)
class DemoResult:
    """A whole run."""

    preset: str
    simulator: str
    device: str
    seed: int
    faults: dict[str, str]
    versions: dict[str, str]
    classes: list[int]
    batch: int
    test_images: int
    rtl_test_images: int
    accuracy_before: float = 0.0
    accuracy_after: float = 0.0
    simulation_seconds: float = 0.0
    simulated_cycles: int = 0
    peak_macs_per_cycle: int = 0
    steps: list[StepResult] = field(default_factory=list)
    jobs: list[JobCycles] = field(default_factory=list)
    images: list[ImageRows] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the figures as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "DemoResult":
        """Read what :meth:`write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        values["steps"] = [StepResult(**step) for step in values["steps"]]
        values["jobs"] = [JobCycles(**job) for job in values["jobs"]]
        values["images"] = [ImageRows(**image) for image in values["images"]]
        return cls(**values)

    def stages(self) -> list[JobCycles]:
        """The jobs' figures summed over each stage, in the order of a training step."""
        sums: dict[str, JobCycles] = {}
        for job in self.jobs:
            total = sums.setdefault(job.stage, JobCycles(name=job.stage, stage=job.stage))
            total.runs += job.runs
            total.cycles += job.cycles
            total.ideal_cycles += job.ideal_cycles
            total.starved_rows += job.starved_rows
            total.starved_words += job.starved_words
            total.stalled += job.stalled
        return list(sums.values())
