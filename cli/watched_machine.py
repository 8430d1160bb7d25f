# SPDX-License-Identifier: Apache-2.0
"""The whole machine as a compiled simulation takes it: with ports that show the ends of descriptors."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from amaranth.hdl import Module
from amaranth.lib.wiring import Component, Out, connect, flipped

from respin.gen.emit import emit
from respin.gen.versions import versions
from respin.rtl.config import AcceleratorConfig
from respin.rtl.machine import Machine
from respin.rtl.sequencer.ports import INDEX_BITS, EdgeNote
from respin.sim.runner import build_folder

TOP = "respin_machine"
_ROOT = Path(__file__).resolve().parents[1]


class WatchedMachine(Component):
    """A machine, and ports that show the ends of its descriptors (:data:`respin.sim.compiled.WATCHES`).

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    descriptor_done : Out(1), descriptor : Out(24)
        A descriptor ends in this cycle; which one.
    reported : Out(1), job_cycles : Out(32)
        A job reports; how long it took.
    note : Out(EdgeNote)
        What the sequencer notes of tensors of errors.
    s_axi, m_axi, irq, banks
        As of :class:`respin.rtl.machine.Machine`.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        self._machine = Machine(config=config)
        super().__init__({
            **self._machine.signature.members,
            "descriptor_done": Out(1),
            "descriptor": Out(INDEX_BITS),
            "reported": Out(1),
            "job_cycles": Out(32),
            "note": Out(EdgeNote),
        })

    def elaborate(self, platform: object) -> Module:
        """Connect the machine's own ports through, and those of what it is made of."""
        m = Module()
        m.submodules.machine = machine = self._machine
        for name in ("s_axi", "m_axi"):
            connect(m, flipped(getattr(self, name)), getattr(machine, name))
        for outer, inner in zip(self.banks, machine.banks, strict=True):
            connect(m, inner, flipped(outer))
        inside = machine._machine  # the ports of what a machine is made of
        m.d.comb += [
            self.irq.eq(machine.irq),
            self.descriptor_done.eq(inside.control.descriptor_done),
            self.descriptor.eq(inside.control.ended),
            self.reported.eq(inside.reported),
            self.job_cycles.eq(inside.report.cycles),
            self.note.eq(inside.note),
        ]
        return m


def machine_verilog(config: AcceleratorConfig) -> str:
    """Return the Verilog of a :class:`WatchedMachine`, kept from the last time unless the generator has changed."""
    return kept_verilog(TOP, config, Path(__file__), lambda: WatchedMachine(config=config))


def kept_verilog(top: str, config: AcceleratorConfig, source: Path, make: Callable[[], Component]) -> str:
    """Return the Verilog of what ``make`` makes, kept from the last time unless ``source`` or the generator has
    changed."""
    sources = [*sorted((_ROOT / "rtl").rglob("*.py")), _ROOT / "gen" / "emit.py", source]
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
    with build_folder(f"{top}-verilog", [asdict(config), digest, versions()]) as (folder, built):
        path = folder / f"{top}.v"
        if not built:
            path.write_text(emit(make(), top, config=config), encoding="utf-8")
        return path.read_text(encoding="utf-8")
