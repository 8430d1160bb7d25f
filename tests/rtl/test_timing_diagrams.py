# SPDX-License-Identifier: Apache-2.0
"""The documentation's timing diagrams are what the hardware does; ``--write-waves`` draws them anew."""

import json
from pathlib import Path

import pytest
import wavedrom
from timing_scenes import SCENES

FOLDER = Path(__file__).parents[2] / "docs" / "waves"


@pytest.mark.parametrize("name", SCENES)
def test_a_diagram_is_what_the_simulation_shows(name: str, request: pytest.FixtureRequest) -> None:
    shown = json.dumps(SCENES[name](), indent=1) + "\n"
    drawn = wavedrom.render(shown).tostring().replace("<svg ", '<svg style="background:white" ', 1) + "\n"
    if request.config.getoption("--write-waves"):
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.json").write_text(shown, encoding="utf-8")
        (FOLDER / f"{name}.svg").write_text(drawn, encoding="utf-8")
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == shown
    assert (FOLDER / f"{name}.svg").read_text(encoding="utf-8") == drawn
