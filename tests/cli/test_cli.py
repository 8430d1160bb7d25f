# SPDX-License-Identifier: Apache-2.0
"""The command line: exit codes that scripts can trust, one line for an error, JSON that parses."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from respin.cli.sim import benches


def respin(*arguments, cwd=None, env=None):
    return subprocess.run(
        [sys.executable, "-m", "respin.cli", *arguments],
        capture_output=True, text=True, timeout=300, check=False, cwd=cwd, env=env,
    )  # fmt: skip


def test_doctor_lists_every_tool():
    done = respin("doctor", "--json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert found["good"]
    assert {"python", "amaranth", "verilator", "g++", "make", "perl", "torch", "git"} <= {
        tool["name"] for tool in found["tools"]
    }
    assert all(tool["purpose"] and set(tool) >= {"found", "version", "good", "required"} for tool in found["tools"])


def test_doctor_says_what_to_install(tmp_path):
    """On a machine with nothing on PATH, what is missing gets a line each, and the exit code says so."""
    done = respin("doctor", env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    for line in ("g++: not found; install it", "make: not found; install it", "perl: not found; install it"):
        assert line in done.stdout


def test_verilog_writes_a_folder(tmp_path):
    done = respin("verilog", "--preset", "tiny", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_a_configuration_of_ones_own(tmp_path):
    (tmp_path / "mine.toml").write_text('base = "tiny"\nbanks = 2\n')
    done = respin("verilog", "--config", "mine.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "build" / "verilog" / "mine" / "manifest.json").read_text())
    assert (manifest["configuration"]["name"], manifest["configuration"]["banks"]) == ("mine", 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verilog", "--preset", "huge"], "preset must be one of tiny, nano, small, default, large, not 'huge'"),
        (["verilog", "--config", "none.toml"], "none.toml: cannot be read: No such file or directory"),
        (["verilog", "--config", "odd.toml"], "odd.toml: banks must be a power of two, not 3"),
        (["verilog", "--preset", "tiny", "--config", "odd.toml"], "--preset and --config exclude each other"),
        (["verilog", "--preset", "tiny", "--out", "."], "holds something that respin did not write"),
        (["registers", "--out", "."], "holds something that respin did not write"),
        (["registers", "--preset", "huge"], "preset must be one of "),
        (["sim", "nothing"], "bench must be one of "),
        (["sim", "streams", "--simulator", "other"], "simulator must be one of verilator, icarus, not 'other'"),
        (["sim", "streams", "--preset", "huge"], "preset must be one of "),
        (["bench", "area", "--block", "moon"], "block must be one of "),
        (["bench", "sim", "--simulator", "other"], "must be one of verilator, icarus, compiled, compiled-twice, not"),
        (["bench", "cycles", "--part", "moon"], "--part must be of peer, smallest, bits, steady, whole, not 'moon'"),
        (["bench", "cycles", "--preset", "tiny"], "the cases need 4096 words of the store, tiny has 1024"),
        (["bench", "layers", "--network", "moon"], "--network must be one of digits, efficientnet-lite0, mobilenet-v2"),
        (["bench", "gen", "--preset", "huge"], "preset must be one of "),
        (["bench", "gen", "--preset", "tiny", "--preset", "tiny"], "--preset names a preset twice"),
    ],
)
def test_bad_input_gets_one_line(arguments, message, tmp_path):
    (tmp_path / "odd.toml").write_text("banks = 3\n")
    done = respin(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.startswith("respin: ")
    assert done.stderr.count("\n") == 1


def test_the_command_starts_without_the_packages_of_an_extra():
    """Generating Verilog must not need them; ``respin demo`` does, and gets them when it runs."""
    code = "import sys; sys.modules |= dict.fromkeys(['torch', 'sklearn', 'matplotlib']); import respin.cli.main"
    subprocess.run([sys.executable, "-c", code], timeout=120, check=True)


def test_an_interrupt_while_the_commands_are_imported_leaves_no_traceback():
    code = """if True:
        import importlib.abc, os, signal, sys
        class Interrupts(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == "respin.cli.main":
                    os.kill(os.getpid(), signal.SIGINT)
        sys.meta_path.insert(0, Interrupts())
        from respin.cli.__main__ import main
        main()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def runs(pid):
    """Whether a process does: it is there, and not only its end is still to be asked for."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("asked", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_what_a_command_started_ends_with_it_when_it_is_asked_to_end(asked, tmp_path):
    code = f"""if True:
        import os, pathlib, signal, sys
        import respin.cli.main
        from respin.cli.__main__ import main
        from respin.sim.runner import execute
        signal.signal(signal.{asked}, signal.SIG_DFL)  # whatever started the tests
        @respin.cli.main.app.command()
        def build():
            # A moment later, when the command waits for it.
            ask = "echo $$ > pid; sleep 1; kill -{asked[3:]} $PPID; exec sleep 600"
            execute([["sh", "-c", ask]], pathlib.Path("."), os.environ, open("log", "w"), 600)
        sys.argv = ["respin", "build"]
        main()
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")
    assert not runs(int((tmp_path / "pid").read_text()))


def test_registers_writes_a_folder(tmp_path):
    done = respin("registers", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "build" / "registers"
    printed = [line.rsplit("/", 1)[1] for line in done.stdout.split()]
    assert printed == ["respin.rdl", "respin.md", "respin_registers.py", "respin.h", "index.html", "manifest.json"]
    assert (folder / "html" / "index.html").is_file()


def test_registers_says_what_to_install(tmp_path):
    code = (
        "import respin.cli.console, respin.cli.main, sys; respin.cli.console.package_version = lambda name: None; "
        "sys.argv = ['respin', 'registers']; respin.cli.main.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("respin: systemrdl-compiler: not installed; in the project's folder: pip install -e")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "build").exists()


def test_sim_lists_the_benches():
    done = respin("sim")
    assert done.returncode == 0
    assert done.stdout.split() == benches()
    assert "streams" in benches()


def test_bench_gen_prints_json():
    done = respin("bench", "gen", "--preset", "tiny", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"bench", "config", "versions", "rows"}
    (row,) = found["rows"]
    assert {"preset", "seconds", "verilog_bytes", "modules"} <= set(row)


def test_bench_area_counts_a_block():
    done = respin("bench", "area", "--preset", "tiny", "--block", "respin_dot", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["block"] == "respin_dot"
    assert 0 < row["lut6"] < row["lut4"]
    assert row["lut6_per_bit_mac"] == round(row["lut6"] / row["bit_macs_per_cycle"], 3)
    assert row["bismo_lut6_per_bit_mac"] == round((1.17 * 64 + 44.1) / 64, 3)


@pytest.mark.parametrize(
    "command",
    ["", "doctor", "verilog", "registers", "sim", "inspect", "bench", "bench area", "bench cycles", "bench gen",
     "bench layers", "bench sim"],
)
def test_every_command_has_help(command):
    done = respin(*command.split(), "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
