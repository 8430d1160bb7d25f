# SPDX-License-Identifier: Apache-2.0
"""What every test shares: where generated files go, and which simulators and presets a run is limited to."""

import os
from pathlib import Path

import pytest

from respin.sim.runner import seed, simulators

os.environ.setdefault("RESPIN_BUILD", str(Path(__file__).parents[1] / "build"))
os.environ["COLUMNS"] = "200"
"""Tables are as wide as this, whatever terminal the tests run in; consoles read it when they are made."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests that take minutes each, too")
    parser.addoption("--simulator", choices=simulators(), help="run the benches on this simulator only")
    parser.addoption("--write-waves", action="store_true", help="draw the documentation's timing diagrams anew")
    parser.addoption("--every-cycle", action="store_true", help="cut the power in every cycle of what is cut at all")
    parser.addoption("--cuts", type=int, default=12, help="cycles of each procedure that power is cut in, if not all")
    parser.addoption("--cut-preset", default="tiny", help="whose memory loses power")
    parser.addoption("--fuzz-cases", type=int, default=2000, help="damaged programs that the machine is given")
    parser.addoption("--network-cases", type=int, default=10, help="random networks that run on the machine")
    parser.addoption("--job-slots", type=int, default=1, choices=(1, 2), help="job slots of the machine that runs them")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "simulator" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--simulator")
        metafunc.parametrize("simulator", [chosen] if chosen else simulators())


def _is_long(item: pytest.Item) -> bool:
    """Whether a case takes minutes: all of a test or those named are ``long``, or Icarus is not to run it."""
    long, runs = item.get_closest_marker("long"), item.get_closest_marker("icarus_runs")
    case = getattr(item, "callspec", None)
    names = set(case.id.split("-")) if case else set()
    if long and (not long.args or names & set(long.args)):
        return True
    return bool(runs and case.params["simulator"] == "icarus" and not names & set(runs.args))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long") or config.getoption("--simulator"):
        return
    left_out = [item for item in items if _is_long(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_report_header() -> str:
    return f"RESPIN_SEED={seed()} (set the environment variable for another one)"
