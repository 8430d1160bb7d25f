# SPDX-License-Identifier: Apache-2.0
"""Everything that is run on this project: ``./nox -s demo`` (nox -l lists the rest).

All sessions share one environment, ``.venv``: PyTorch and the simulators are large, and what is checked is what is
shown. It is installed once, and again when pyproject.toml or constraints.txt change.
"""

import hashlib
import os
import shutil
import sys
import venv
from pathlib import Path

import nox

ROOT = Path(__file__).parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
EXTRAS = "learn,area,fpga,sdram,registers,board,tests,lint"

nox.needs_version = ">=2024.4"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "tests"]


def environment(session: nox.Session) -> None:
    """Make or update ``.venv``; what it was made from is written into it, so that nothing is done twice."""
    sources = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    wanted = hashlib.sha256(b"\0".join([*sources, sys.version.encode()])).hexdigest()
    stamp = VENV / "installed"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    if not PYTHON.is_file():
        session.log(f"making {VENV}")
        venv.create(VENV, with_pip=True)
    session.log("installing what pyproject.toml names; the first time takes some minutes")
    # A pip that came with an older Python installs source packages by running their setup.py, which fails for some.
    for packages in (["pip"], ["-e", f"{ROOT}[{EXTRAS}]"]):
        arguments = ["--disable-pip-version-check", "--quiet", "-c", str(ROOT / "constraints.txt"), *packages]
        session.run(str(PYTHON), "-m", "pip", "install", *arguments, external=True)
    stamp.write_text(wanted, encoding="utf-8")


def run(session: nox.Session, program: str, *arguments: str, **variables: str) -> None:
    """Run a program of ``.venv`` in the project's folder, with the environment's other programs first on PATH."""
    path = os.pathsep.join([str(VENV / "bin"), os.environ.get("PATH", os.defpath)])
    env = {"PATH": path, "VIRTUAL_ENV": str(VENV), **variables}
    with session.chdir(ROOT):
        session.run(str(VENV / "bin" / program), *arguments, external=True, env=env)


@nox.session
def verilog(session: nox.Session) -> None:
    """Generate Verilog: ./nox -s verilog -- --preset small"""
    environment(session)
    run(session, "respin", "verilog", *session.posargs)


@nox.session
def registers(session: nox.Session) -> None:
    """Write the register map as SystemRDL, HTML, Markdown, a C header and Python constants."""
    environment(session)
    run(session, "respin", "registers", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Train a Rep-Net module inside the simulated hardware, and check every tensor."""
    environment(session)
    run(session, "respin", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, the cheapest first: ./nox -s tests -- tests/rtl -k secded"""
    environment(session)
    # Two tests run side by side; PyTorch's own threads would only get in each other's way.
    run(session, "pytest", "-n", "2", "--dist", "worksteal", *session.posargs, OMP_NUM_THREADS="1")


@nox.session
def powercut(session: nox.Session) -> None:
    """Cut the power in every cycle of each procedure on the memory and of its upkeep; many minutes."""
    environment(session)
    procedures, upkeep = "tests/cosim/test_power_cut.py", "tests/cosim/test_upkeep_power_cut.py"
    run(session, "pytest", procedures, upkeep, "--every-cycle", "--timeout", "0", *session.posargs)
    # Of a large memory in cycles at random.
    run(session, "pytest", procedures, "--cut-preset", "default", "--cuts", "40", "--timeout", "0", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure what the cocotb benches cover of the hardware: branches, and edges of bits; hours."""
    environment(session)
    folder = ROOT / "build" / "coverage"
    # Counts of earlier sources would be counted as well.
    shutil.rmtree(folder, ignore_errors=True)
    counted = {"RESPIN_COVERAGE": "1", "RESPIN_BUILD": str(folder), "OMP_NUM_THREADS": "1"}
    # Compiled machines, without cocotb, leave no counts.
    left_out = [f"--ignore=tests/cosim/test_{name}.py" for name in ("compiled", "random_networks", "job_slots")]
    # Simulations may take longer here, one that is ended for it as well.
    left_out += ["--deselect", "tests/cosim/test_streams.py::test_a_run_that_takes_too_long_is_ended"]
    limits = ("--simulator", "verilator", "--timeout", "0", "-n", "2", "--dist", "worksteal")
    run(session, "pytest", "tests/cosim", *limits, *left_out, **counted)
    run(session, "python", "tests/rtl_coverage/report.py", str(folder), *session.posargs)


@nox.session
def formal(session: nox.Session) -> None:
    """Prove properties of the hardware, and refute broken copies of it: ./nox -s formal -- RowWriter; many minutes."""
    environment(session)
    run(session, "python", "tests/formal/run.py", *session.posargs)


SMOKE = (
    "--tasks", "digits", "--train-images", "320", "--epochs", "2", "--size", "64",
    "--method", "rep-net,rep-net-float,head,bias,linear",
)  # fmt: skip
"""A study of minutes: few images, few passes."""
STUDY = (
    "--tasks", "cifar10,fashion_mnist,elpv,mnist", "--method", "rep-net,rep-net-float,linear,head",
    "--seeds", "5", "--chosen-on", "400",
)  # fmt: skip
"""Four tasks, five seeds: hours."""
ABLATIONS = (
    "--tasks", "cifar10", "--method", "rep-net,variations", "--held-out", "4000", "--epochs", "8", "--seeds", "3",
    "--out", "docs/results/ablations",
)  # fmt: skip
"""The rules with one of them changed at a time; the test set is not looked at. Hours."""


@nox.session
def learn_smoke(session: nox.Session) -> None:
    """Check in minutes that learning on a real backbone works, from its weights to the page."""
    environment(session)
    folder = ROOT / "build" / "learn-smoke"
    # Kept results would be shown again, whatever the code is by now.
    shutil.rmtree(folder, ignore_errors=True)
    run(session, "respin", "learn", *SMOKE, "--report", "--out", str(folder), *session.posargs)


@nox.session
def learn(session: nox.Session) -> None:
    """Compare the methods on four tasks: hours; it goes on where it was interrupted."""
    environment(session)
    folder = str(ROOT / "docs" / "results" / "four-tasks")
    run(session, "respin", "learn", *STUDY, "--report", "--out", folder, *session.posargs)


@nox.session
def ablations(session: nox.Session) -> None:
    """Compare the rules of learning with variations of them: hours; it goes on where it was interrupted."""
    environment(session)
    run(session, "respin", "learn", *ABLATIONS, "--report", *session.posargs)


@nox.session
def network(session: nox.Session) -> None:
    """Run a whole EfficientNet-Lite0 that learns on the whole machine, every tensor against golden; many minutes."""
    environment(session)
    run(session, "respin", "network", *session.posargs)


@nox.session
def slots(session: nox.Session) -> None:
    """Random networks on a machine with two job slots, every tensor against golden, and faults; many minutes."""
    environment(session)
    tests = ("tests/cosim/test_random_networks.py::test_random_networks", "tests/cosim/test_job_slots.py")
    options = ("--network-cases", "60", "--job-slots", "2", "--timeout", "0")
    run(session, "pytest", *tests, *options, *session.posargs, OMP_NUM_THREADS="1")


@nox.session
def board(session: nox.Session) -> None:
    """Train a simulated board over its serial line, with the commands for real ones; minutes."""
    environment(session)
    run(session, "pytest", "tests/board", *session.posargs, OMP_NUM_THREADS="1")


@nox.session
def bitstream(session: nox.Session) -> None:
    """Build a bitstream: ./nox -s bitstream -- --board ulx3s-85f; many minutes"""
    environment(session)
    run(session, "respin", "bitstream", *session.posargs)


@nox.session
def netlists(session: nox.Session) -> None:
    """Run benches on netlists, mapped, routed, recovered from bits: ./nox -s netlists -- -k board; an hour."""
    environment(session)
    # Each part tells what it is at.
    run(session, "pytest", "tests/netlists", "--capture=no", "-v", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and imports."""
    environment(session)
    typing = ROOT / "build" / "typing" / "respin"
    typing.mkdir(parents=True, exist_ok=True)
    for folder in ("rtl", "gen", "sim", "golden", "firmware_model", "cli"):
        link = typing / folder
        if not link.is_symlink():
            link.symlink_to(ROOT / folder)
    run(session, "ruff", "check")
    run(session, "mypy")
    run(session, "lint-imports")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure: ./nox -s bench -- area --json"""
    environment(session)
    run(session, "respin", "bench", *session.posargs)
