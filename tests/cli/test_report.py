# SPDX-License-Identifier: Apache-2.0
"""What the report computes beside the cost model: conversions, wear, quantities as text; sums by hand."""

import json
from dataclasses import asdict, replace

import pytest

from respin.cli.report.blocks import BLOCKS, BlocksError, read_blocks
from respin.cli.report.measured import Wear, counts
from respin.cli.report.model import most_pulses, report
from respin.cli.report.page import si, write_page
from respin.cli.report.peers import PEERS
from respin.firmware_model.compiler import INFER
from respin.firmware_model.descriptors import Descriptor, pack_program
from respin.firmware_model.image import Area, ImageError, ProgramImage, Tensor
from respin.firmware_model.job_parts import Requantise, Source
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import StoreTensor
from respin.rtl.config import preset
from respin.rtl.sequencer.descriptor import Opcode
from respin.sim.area import Logic
from respin.sim.cost import load_costs
from respin.sim.device import load


def test_published_silicon_in_picojoules_of_an_8_bit_mac():
    """2 / 15.31; 2 / 8.84; 2 / 89 and four 4-bit products."""
    assert [peer.picojoules for peer in PEERS] == pytest.approx([0.130634, 0.226244, 0.0898876], rel=1e-5)


def test_wear_of_the_most_used_strip():
    """500 pulses where 400 changes were seen: a strip seen to change in 8 of 10 steps had 10 pulses, one a step."""
    wear = Wear(steps=10, pulses=500, strips=1000, hottest=8, changed=400)
    assert wear.hottest_per_step == pytest.approx(1.0)
    assert wear.mean_per_step == pytest.approx(0.05)


def test_no_wear_where_nothing_was_written():
    assert Wear(steps=10, pulses=0, strips=1000, hottest=0, changed=0).hottest_per_step == 0


def test_the_most_pulses_of_a_step():
    """32 outputs in a row: all at once with 32 slices, 4 times with 8; a write and 3 retries; two commands to erase."""
    assert most_pulses(preset("default")) == 4
    assert most_pulses(preset("small")) == 16
    assert most_pulses(replace(preset("small"), write_scheme="erase_program", device="erasable")) == 32


def test_counters_as_events():
    """``large`` has 32 slices of 32 lanes for each of 4 pixels."""
    counters = {
        "cycles": 100, "engine_busy": 10, "rows_read": 7, "rows_written": 3, "retries": 1, "strips_pulsed": 5,
        "dma_bytes_read": 64, "dma_bytes_written": 32,
    }  # fmt: skip
    assert counts(preset("large"), counters) == {
        "cycles": 100, "lane_cycles": 409600, "rows_read": 7, "rows_verified": 7, "strips_pulsed": 5,
        "engine_cycles": 10, "bit_macs": 40960, "accumulations": 1280, "external_bytes": 96,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.5e-6, "2.5 µJ"), (1.0, "1 J"), (0.000999, "999 µJ"), (12345.0, "12,345 J"), (0.0, "0 J"), (None, "–")],
)
def test_quantities_as_text(value, text):
    assert si(value, "J") == text


def test_a_part_is_published_only_if_all_its_figures_are(tmp_path):
    """Of the shipped figures those of store and external memory; with a published figure for the rest of the engine's,
    its latches are still assumed."""
    image = ProgramImage(
        config=preset("tiny"), base=0, content=program(), areas={INFER: Area(address=0, size=768)}, programs=(INFER,),
        tensors={"input": Tensor(shape=(1, 32, 2, 2), signed=True)},
    )  # fmt: skip
    costs = load_costs()
    costs["engine.bit_mac"] = replace(costs["engine.bit_mac"], source="published")
    found = report(image, load("default"), costs, measured=None, steps_per_day=1, factor=2)
    (made,) = found["programs"]
    assert {row["part"] for row in made["parts"] if row["source"] == "published"} == {"store", "external memory"}
    assert {term["event"] for term in made["terms"] if term["part"] == "engine" and term["source"] == "published"} == {
        "bit_macs", "accumulations",
    }  # fmt: skip
    # A header, and two descriptors.
    external = {row["part"]: row["joules"] for row in made["parts"]}["external memory"]
    assert external == pytest.approx((256 + 2 * 256) * 244e-12)
    assert found["endurance"] is None, "a program that only infers wears nothing"
    cool, hot = found["scrub"]
    assert cool["joules"] == pytest.approx(2048 * 16.8e-12, rel=5e-3), "288 columns of a READ in each of 2,048 rows"
    assert cool["watts"] == cool["joules"] / (10 * 365.25 * 86400), "this device keeps rows for ten years"
    assert hot["period"] < cool["period"]
    write_page(tmp_path / "report.html", found | {"program": "by hand"})
    assert "What by hand costs" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_area_has_the_logic_where_it_was_counted(tmp_path):
    """At 8 and 6 gates of 0.5 µm², of which the placed logic is seven tenths."""
    image = ProgramImage(
        config=preset("tiny"), base=0, content=program(), areas={INFER: Area(address=0, size=768)}, programs=(INFER,),
        tensors={"input": Tensor(shape=(1, 32, 2, 2), signed=True)},
    )  # fmt: skip
    said = {"measured": None, "steps_per_day": 1, "factor": 2}
    nothing = Logic(lut6=0, flip_flops=0)
    blocks = dict.fromkeys(BLOCKS, nothing) | {"respin_engine": Logic(lut6=1000, flip_flops=100)}
    alone, found = (report(image, load("default"), load_costs(), **said, blocks=these) for these in (None, blocks))
    assert (alone["area"]["logic"], found["area"]["logic"]) == (False, True)
    assert found["area"]["mm2"] - alone["area"]["mm2"] == pytest.approx(1e-6 * (8000 + 600) * 0.5 / 0.7)
    assert {"area.mtj", "area.lut6"} <= {row["name"] for row in found["area"]["sensitivity"]}
    assert {"area.sram_bit"} < {row["name"] for row in found["figures"]}
    for made, text in ((alone, "logic is not known without --area"), (found, "<td>engine</td>")):
        write_page(tmp_path / "report.html", made | {"program": "by hand"})
        assert text in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_image_without_an_inference_is_refused():
    image = ProgramImage(config=preset("tiny"), base=0, content=b"", areas={}, programs=(), tensors={})
    with pytest.raises(ImageError, match="the image must have a program infer; there is none"):
        report(image, load("default"), load_costs(), measured=None, steps_per_day=1, factor=2)


def program() -> bytes:
    """A program that copies a tensor of 32 channels, 2x2 pixels."""
    x = StoreTensor(0, (1, 32, 2, 2), signed=True)
    job = JobBuilder(preset("tiny")).gather(replace(x, base=4), [Source(tensor=x)], finish=Requantise())
    return pack_program(preset("tiny"), [Descriptor.of_job(job), Descriptor(opcode=Opcode.END)])


def counted(**parts) -> str:
    """What ``respin bench area --json`` prints of ``tiny``, with some parts replaced."""
    rows = [{"block": block, "lut6": 5, "lut4": 9, "ff": 3, "bram_kbit": 36} for block in BLOCKS]
    return json.dumps({"bench": "area", "config": {"tiny": asdict(preset("tiny"))}, "rows": rows} | parts)


def test_counted_blocks_are_of_the_same_machine_but_for_its_rows(tmp_path):
    file = tmp_path / "area.json"
    file.write_text(counted(), encoding="utf-8")
    for config in (preset("tiny"), replace(preset("tiny"), name="mine", mram_rows=4096)):
        blocks = read_blocks(file, config)
        assert blocks == dict.fromkeys(BLOCKS, Logic(lut6=5, flip_flops=3, memory_bits=36 * 1024))
    with pytest.raises(BlocksError, match=r"area\.json: counts tiny, which differs from mine in slices, pixels"):
        read_blocks(file, replace(preset("tiny"), name="mine", slices=8, pixels=2))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no JSON", "is not what respin bench area --json prints"),
        ("[1]", "is not what respin bench area --json prints"),
        (counted(rows=[{"block": "respin_engine"}]), "is not what respin bench area --json prints"),
        (counted().replace('"ff": 3', '"ff": -3', 1), "is not what respin bench area --json prints"),
        (counted().replace('"bram_kbit": 36', '"bram_kbit": NaN', 1), "is not what respin bench area --json prints"),
        (counted(rows=[]), "does not count respin_mram, .*, respin: respin bench area does without --block"),
        (counted(config={}), "is not what respin bench area --json prints"),
        (counted(bench="cycles"), "is of respin bench cycles, not area"),
    ],
)
def test_files_that_count_no_blocks_are_refused(content, said, tmp_path):
    file = tmp_path / "area.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(BlocksError, match=f"area.json: {said}"):
        read_blocks(file, preset("tiny"))
    with pytest.raises(BlocksError, match="none: cannot be read: No such file"):
        read_blocks(tmp_path / "none", preset("tiny"))
