# SPDX-License-Identifier: Apache-2.0
"""Build Verilog with a simulator and run cocotb benches on it.

>>> dut = build("fifo", emit(Fifo(depth=4), "fifo"), simulator="verilator")
>>> run(dut, "tb_fifo", tests=3)

Each (module, sources, options, simulator) has a folder of its own under ``build/cosim``, named by a hash of them all:
an unchanged design is not built again, a changed one never mistaken for the old. A lock lets several test processes
share the folders.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from xml.etree import ElementTree

import cocotb_tools.runner

from respin.sim import tools
from respin.sim.held import with_held_inputs

SIMULATORS = ("verilator", "icarus")

BUILD_SECONDS = 900
RUN_SECONDS = 600
"""Bounds on one compilation and on one run, so that nothing hangs."""

_LOG_TAIL = 60
_VERILATE = ("-Wall", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing")
_COUNTED = ("--coverage-line", "--coverage-toggle", "--coverage-max-width", "4096")
"""With ``RESPIN_COVERAGE``: each run leaves a ``coverage.dat``. Signals wider than 256 bits, rows, count as well."""
_NOTHING = "module runtime(input wire clk);\nendmodule\n"
_ASSERTIONS = {"COCOTB_REWRITE_ASSERTION_FILES": "tb_*.py"}
"""Benches' assertions show their values. cocotb would rewrite those of torch as well, longer than many benches run."""
_WAIVED = (
    *("WIDTHEXPAND", "WIDTHTRUNC", "UNUSEDSIGNAL", "UNUSEDPARAM", "DECLFILENAME", "PROCASSINIT"),
    "CASEINCOMPLETE",  # a state machine whose states do not fill their register; outputs have their defaults before it
)
"""What Verilator says about Verilog written by a machine, waived rule by rule; every other warning is an error."""


class SimulationError(Exception):
    """A build or a bench failed; the message holds the end of its log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """A built simulation: the simulator, the top module and the folder it lies in."""

    simulator: str
    top: str
    folder: Path
    waves: bool


def simulators() -> list[str]:
    """List the simulators that can be used here: ``verilator`` always, ``icarus`` where it is installed."""
    return [name for name in SIMULATORS if name == "verilator" or tools.icarus().good]


def seed() -> int:
    """Return the seed of every random choice in a bench: ``RESPIN_SEED``, 1 unless set."""
    return int(os.environ.get("RESPIN_SEED", "1"))


def _asked_for(variable: str) -> bool:
    return os.environ.get(variable, "0") not in ("", "0")


def _bound(seconds: float) -> float:
    """A simulation that counts what it covers is larger and slower."""
    return seconds * (5 if _asked_for("RESPIN_COVERAGE") else 1)


def build_root() -> Path:
    """Return the folder of everything generated: ``RESPIN_BUILD``, or ``build`` under the current folder."""
    return Path(os.environ.get("RESPIN_BUILD", "build")).absolute()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def build_folder(name: str, key: Sequence[object]) -> Iterator[tuple[Path, bool]]:
    """Yield the folder, empty at first, of what ``key`` describes, and whether it is built already.

    Others wait for as long as the ``with`` lasts; what ends without an exception counts as built from then on.
    """
    digest = hashlib.sha256(json.dumps(key, default=str).encode()).hexdigest()[:16]
    folder = build_root() / "cosim" / f"{name}-{digest}"
    with _locked(folder.with_suffix(".lock")):
        built = (folder / "built").is_file()
        if not built:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        yield folder, built
        (folder / "built").touch()


def execute(commands: Sequence[Sequence[str]], cwd: Path, env: Mapping[str, str], log: TextIO, limit: float) -> None:
    """Run commands one after the other, their output into ``log``; RuntimeError at the first that fails.

    One that takes longer than ``limit`` seconds is ended with all that it started.
    """
    for command in commands:
        with subprocess.Popen(
            command, cwd=cwd, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        ) as process:
            try:
                code = process.wait(timeout=limit)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)  # the compiler and simulator it started end with it
                if isinstance(error, subprocess.TimeoutExpired):
                    raise RuntimeError(f"{command[0]} was ended after {limit:g} s") from error
                raise
        if code:
            raise RuntimeError(f"{command[0]} ended with code {code}")


class _Bounded(cocotb_tools.runner.Runner):
    """A cocotb runner whose commands are ended after ``limit`` seconds.

    ``effort`` is the C++ compiler's for what runs each cycle, ``compiled`` names objects that lie in the build already.
    """

    limit: float = RUN_SECONDS
    effort: str = "-O1"
    compiled: Sequence[str] = ()

    def _execute_cmds(self, cmds: Any, cwd: Any, stdout: TextIO | None = None) -> None:
        if stdout is None:
            raise ValueError("log_file must be given")
        execute(cmds, Path(cwd), self.env, stdout, self.limit)


class _Icarus(_Bounded, cocotb_tools.runner.Icarus):
    pass


class _Verilator(_Bounded, cocotb_tools.runner.Verilator):
    """Verilator as :mod:`respin.sim.tools` finds it, with the signals of a control file public and no others."""

    def _simulator_in_path_build_only(self) -> None:
        self.executable = tools.verilator_toolchain().path

    def _set_env_build(self) -> None:
        super()._set_env_build()
        self.env.update(tools.verilator_toolchain().environment)

    def _build_command(self) -> list[list[str]]:
        verilate, make = super()._build_command()
        verilate.remove("--public-flat-rw")
        kept = [f"--old-file={name}" for name in self.compiled]
        return [verilate, [*make, f"OPT_FAST={self.effort}", "OPT_GLOBAL=-O1", *kept]]


def _make_runner(simulator: str) -> _Bounded:
    if simulator == "verilator":
        tools.verilator_toolchain()
        return _Verilator()
    if simulator == "icarus":
        tools.icarus().check()
        return _Icarus()
    raise ValueError(f"simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}")


def _ports(text: str, top: str) -> list[str]:
    """Return the names of ``top``'s ports."""
    module = re.search(rf"^\s*module\s+{re.escape(top)}\b(.*?)^\s*endmodule", text, re.DOTALL | re.MULTILINE)
    if module is None:
        raise ValueError(f"top must be a module of the sources, not {top!r}")
    kind = r"(?:(?:wire|reg|logic)\b\s*)?(?:signed\b\s*)?(?:\[[^\]]*\]\s*)?"
    return re.findall(rf"\b(?:input|output|inout)\s+{kind}(\w+)", module[1])


def control_file(
    top: str,
    generated: Sequence[str],
    ports: Sequence[str] = (),
    public: Sequence[str] = (),
    visible: Sequence[tuple[str, str]] = (),
) -> str:
    """Return a Verilator control file: the waivers for ``generated`` files, and which signals a bench may touch.

    ``ports`` are the top's; ``public`` names further signals, ``signal`` in the top module or ``module.signal``.
    ``visible`` are signals that are only looked at, which costs nothing: (module, name), ``*`` for any letters.
    """
    lines = ["`verilator_config"]
    lines += [f'lint_off -rule {rule} -file "*/{name}"' for name in generated for rule in _WAIVED]
    for name in [*ports, *public]:
        module, _, signal_name = name.rpartition(".")
        lines.append(f'public_flat_rw -module "{module or top}" -var "{signal_name}"')
    lines += [f'public_flat_rd -module "{module}" -var "{signal_name}"' for module, signal_name in visible]
    return "\n".join(lines) + "\n"


def lint(text: str, top: str, folder: Path) -> None:
    """Run Verilator's lint over generated Verilog in ``folder``; raises SimulationError with what it finds."""
    tool = tools.verilator_toolchain()
    source, control, log = folder / f"{top}.v", folder / "lint.vlt", folder / "lint.log"
    source.write_text(text, encoding="utf-8")
    control.write_text(control_file(top, [source.name]), encoding="utf-8")
    command = [tool.path, "--lint-only", "-Wall", "--top-module", top, str(control), str(source)]
    with log.open("w") as output:
        try:
            execute([command], folder, {**os.environ, **tool.environment}, output, BUILD_SECONDS)
        except RuntimeError as error:
            raise SimulationError(f"{top}: {error}; {log} ends with\n{tail(log)}") from None


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    if not log.is_file():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL:])


def build(
    top: str,
    verilog: str | Mapping[str, str],
    *,
    simulator: str,
    files: Sequence[Path] = (),
    public: Sequence[str] = (),
    defines: Mapping[str, object] | None = None,
    parameters: Mapping[str, object] | None = None,
    optimise: bool = False,
    netlist: bool = False,
    held: bool = False,
    seconds: float = BUILD_SECONDS,
) -> Build:
    """Build a simulation, or find it built.

    Parameters
    ----------
    top:
        Name of the top module, one of ``verilog`` or ``files``.
    verilog:
        Verilog text, or several texts by file name.
    simulator:
        One of :func:`simulators`.
    files:
        Further Verilog sources, and Verilator control files (Icarus is not shown those).
    public:
        Signals besides the top's ports that the bench reads or writes, ``signal`` or ``module.signal``; Verilator
        optimises others away. Icarus shows all.
    defines, parameters:
        Macros, and parameters of the top module.
    optimise:
        Spend longer in the C++ compiler for a faster simulation: for long runs of a large design.
    netlist:
        The design is tens of thousands of single cells. Verilator makes one module of them, and the C++ compiler does
        not optimise, which would take it half an hour.
    held:
        Verilator gets ``top`` with held inputs (:mod:`respin.sim.held`), which is faster for a large design; ``top`` is
        the name of one of the texts that :mod:`respin.sim.banks` or :mod:`respin.sim.memory` wrote.
    seconds:
        The build is ended after this long.

    Raises
    ------
    respin.sim.tools.ToolError
        If the simulator or something it needs is missing.
    SimulationError
        If it does not build.
    """
    runner = _make_runner(simulator)
    runner.limit = _bound(seconds)
    runner.effort = "-O0" if netlist else "-O2" if optimise else "-O1"
    texts = {f"{top}.v": verilog} if isinstance(verilog, str) else dict(verilog)
    if held and simulator == "verilator":
        inner, top = top, f"held_{top}"
        texts = with_held_inputs(texts, inner, bench=top)
    generated = list(texts)
    used = [path for path in files if path.suffix != ".vlt" or simulator == "verilator"]
    texts |= {path.name: path.read_text(encoding="utf-8") for path in used}
    waves, counts = _asked_for("WAVES"), _asked_for("RESPIN_COVERAGE")
    arguments: list[str] = []
    if simulator == "verilator":
        control = control_file(top, generated, _ports("\n".join(texts.values()), top), public)
        texts = {"respin.vlt": control} | texts
        arguments = [*_VERILATE, *(["--flatten"] if netlist else []), *(_COUNTED if counts else [])]
    else:
        # Yosys starts each `always @*` by the initial value of a register, which SystemVerilog's order of events,
        # cocotb's choice, lets pass unseen: outputs would be X until their inputs change.
        arguments = ["-g2005"]
    options = {"defines": dict(defines or {}), "parameters": dict(parameters or {}), "waves": waves}
    tool = tools.verilator() if simulator == "verilator" else tools.icarus()
    key = [top, simulator, tool.version, texts, options, arguments, runner.effort]
    with build_folder(f"{top}-{simulator}", key) as (folder, built):
        if not built:
            if simulator == "verilator" and not counts:
                runner.compiled = _copy_runtime(tool.version, folder, waves=waves)
            _compile(runner, folder, texts, top=top, arguments=arguments, **options)
    return Build(simulator=simulator, top=top, folder=folder, waves=waves)


def _copy_runtime(version: str, folder: Path, *, waves: bool) -> list[str]:
    """Copy Verilator's own parts, compiled, which are half of the work, into a build; returns their names."""
    with build_folder("runtime-verilator", [version, waves]) as (runtime, built):
        if not built:
            texts = {"respin.vlt": control_file("runtime", ["runtime.v"], ["clk"])} | {"runtime.v": _NOTHING}
            arguments = [*_VERILATE, "-Wno-UNUSED"]
            _compile(_make_runner("verilator"), runtime, texts, top="runtime", arguments=arguments, waves=waves)
    objects = list(runtime.glob("verilated*.o"))
    for path in objects:
        shutil.copy(path, folder)
    return [path.name for path in objects]


def write_texts(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write texts by file name into a folder; returns the files."""
    paths = []
    for name, text in texts.items():
        paths.append(folder / name)
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def _compile(
    runner: _Bounded, folder: Path, texts: Mapping[str, str], *, top: str, arguments: list[str], **options: Any
) -> None:
    sources = write_texts(texts, folder)
    log = folder / "build.log"
    try:
        runner.build(
            sources=sources,
            hdl_toplevel=top,
            build_dir=folder,
            build_args=arguments,
            timescale=("1ns", "1ps"),
            log_file=log,
            **options,
        )
    except RuntimeError as error:
        raise SimulationError(f"{top}: {error}; {log} ends with\n{tail(log)}") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a run left: the names of the cocotb tests that passed, its log and its folder."""

    passed: list[str]
    log: Path
    folder: Path


def run(
    dut: Build,
    module: str,
    *,
    tests: int,
    only: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    plusargs: Sequence[str] = (),
    seconds: float = RUN_SECONDS,
) -> Result:
    """Run the cocotb tests of ``module`` and check that ``tests`` of them ran and passed.

    Parameters
    ----------
    dut:
        What :func:`build` returned.
    module:
        The bench: a module that the current process could import.
    tests:
        How many tests must have run: a bench that finds none would pass otherwise.
    only:
        Names of the tests to run; all unless given.
    env:
        Further environment variables for the bench. ``RESPIN_SEED`` is always set.
    plusargs:
        ``+name=value`` arguments for ``$value$plusargs``.
    seconds:
        The run is ended after this long.

    Raises
    ------
    SimulationError
        If a test failed, or another number of tests ran, with the end of the log.
    """
    runner = _make_runner(dut.simulator)
    runner.limit = _bound(seconds)
    settings = {"RESPIN_SEED": str(seed()), "COCOTB_ANSI_OUTPUT": "0", **_ASSERTIONS, **(env or {})}
    key = json.dumps([module, list(only), settings, list(plusargs)])
    name = f"{module.rpartition('.')[2]}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    folder = dut.folder / "runs" / name
    seeded = f"RESPIN_SEED={settings['RESPIN_SEED']}"
    print(f"{dut.simulator} {dut.top} {module}: {seeded}, log {folder / 'run.log'}", file=sys.stderr)
    with _locked(folder.with_suffix(".lock")):
        return _simulate(
            runner,
            dut,
            folder,
            tests,
            test_module=module,
            testcase=list(only) or None,
            seed=settings["RESPIN_SEED"],
            extra_env=settings,
            plusargs=list(plusargs),
        )


def _simulate(runner: _Bounded, dut: Build, folder: Path, tests: int, **options: Any) -> Result:
    folder.mkdir(parents=True, exist_ok=True)
    log, results = folder / "run.log", folder / "results.xml"
    problem = ""
    try:
        runner.test(
            hdl_toplevel=dut.top,
            hdl_toplevel_lang="verilog",
            build_dir=dut.folder,
            test_dir=folder,
            results_xml=str(results),
            waves=dut.waves,
            timescale=None,
            log_file=log,
            **options,
        )
    except RuntimeError as error:
        problem = str(error)
    except SystemExit:  # how cocotb's runner reports a failed test under pytest
        problem = "a test failed"
    passed, failed = _outcomes(results)
    if failed:
        problem = f"{', '.join(failed)} failed"
    elif not problem and len(passed) != tests:
        problem = f"{len(passed)} tests ran, not {tests}"
    if problem:
        raise SimulationError(f"{dut.simulator} {dut.top}: {problem}; {log} ends with\n{tail(log)}")
    return Result(passed=passed, log=log, folder=folder)


def _outcomes(results: Path) -> tuple[list[str], list[str]]:
    """Return the names of the tests that passed, and of those that did not."""
    passed: list[str] = []
    failed: list[str] = []
    if results.is_file():
        for case in ElementTree.parse(results).getroot().iter("testcase"):
            good = all(case.find(tag) is None for tag in ("failure", "error", "skipped"))
            (passed if good else failed).append(str(case.get("name")))
    return passed, failed
