# SPDX-License-Identifier: Apache-2.0
"""What a demo run is asked to do, as it passes from the command to the bench."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from respin.rtl.config import AcceleratorConfig

REFUSED = "refused"
"""The event of a network that does not fit the configuration."""
ENVIRONMENT = "RESPIN_DEMO"
"""Environment variable that names the options' file."""
MEMORY_FILES = "memory"
"""Folder of the bank models' files, under the run's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """One run.

    Parameters
    ----------
    config:
        The accelerator.
    simulator:
        ``verilator`` or ``icarus``.
    steps, batch:
        Training steps, images in each.
    test_images:
        Images that run through the hardware for the accuracy before and after.
    seed:
        Of weights, batches, rounding and faults.
    write_error, read_error:
        Probabilities in place of the device's own; None keeps those.
    folder:
        Where the results go.
    """

    config: AcceleratorConfig
    simulator: str
    steps: int
    batch: int
    test_images: int
    seed: int
    write_error: float | None
    read_error: float | None
    folder: str

    def write(self) -> Path:
        """Write the options into their folder."""
        path = Path(self.folder) / "options.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> "DemoOptions":
        """Read what :meth:`write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**(values | {"config": AcceleratorConfig(**values["config"])}))
