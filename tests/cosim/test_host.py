# SPDX-License-Identifier: Apache-2.0
"""The host's side with cocotbext-axi: everything on Verilator at each width, registers and errors on Icarus as well."""

from dataclasses import replace

import pytest

from respin.gen.emit import emit
from respin.rtl.config import preset
from respin.rtl.host.host import Host
from respin.sim.runner import build, run

WATCHDOG = 1024
"""Soon enough to wait for."""
ON_ICARUS = [
    "identity_and_configuration_by_their_names",
    r"three_clients_at_once/waits=0.4/stall=0.4",
    r"errors_are_told_and_the_rest_goes_on/waits=0.4",
]


def bench(name, simulator, **options):
    config = replace(preset(name), watchdog_cycles=WATCHDOG)
    dut = build("respin_host", emit(Host(config=config), "respin_host"), simulator=simulator)
    return run(dut, "tb_host", env={"HOST_PRESET": name, "HOST_WATCHDOG": str(WATCHDOG)}, **options)


@pytest.mark.parametrize("name", ["tiny", "default", "large"])
def test_host(name, simulator):
    if simulator == "verilator":
        bench(name, simulator, tests=20)
    elif name == "default":
        bench(name, simulator, only=ON_ICARUS, tests=len(ON_ICARUS))
