# SPDX-License-Identifier: Apache-2.0
"""Small good descriptors of every kind, from which benches make programs."""

from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.geometry import Geometry
from respin.firmware_model.job_parts import Requantise, RoundError, Source, TrainedImages
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import StoreTensor
from respin.rtl.config import AcceleratorConfig
from respin.rtl.sequencer.descriptor import Opcode
from respin.rtl.sequencer.scaling import scaling_rows

ROWS = range(64, 400)
"""The rows that the programs may write."""
DATA = 0x10000
"""External address of what they load and store."""


def small_samples(config: AcceleratorConfig) -> list[Descriptor]:
    """One or two of each kind; every one may come after every other one."""
    build = JobBuilder(config)
    x = StoreTensor(0, (1, 8, 2, 2), True)
    y, z = StoreTensor(8, x.shape, True), StoreTensor(16, x.shape, True)
    logits, errors = StoreTensor(24, (2, 5, 1, 1), True), StoreTensor(28, (2, 5, 1, 1), True)
    geometry = Geometry(kh=3, kw=3, pad_y=1, pad_x=1)
    error = RoundError(tensor=5, table=32, mask=600)
    images = TrainedImages(base=64, transposed=140, bias=395, tensor=20, bias_tensor=21)
    point = Geometry(kh=1, kw=1)
    whole = {"flags": ("edge", "first", "last"), "sources": (4,)}
    transfer = {"address": DATA, "pitch": 320, "base": 40, "base_pitch": 10, "words": 9, "rows": 3}
    operands = [Source(tensor=x, mult=9), Source(tensor=y, table=96)]
    jobs = [
        Descriptor.of_job(build.convolution(x, y, rows=0, geometry=geometry, finish=Requantise(table=0, mask=600))),
        Descriptor.of_job(build.convolution(x, y, rows=0, geometry=point, finish=error), fraction=3, **whole),
        Descriptor.of_job(build.depthwise(x, y, rows=9, geometry=geometry, finish=Requantise(shift=4))),
        Descriptor.of_job(
            build.gather(z, operands, finish=RoundError(tensor=9), wide=True),
            flags=("edge", "first", "last", "fan_in"), sources=(4, 4),
        ),
        Descriptor.of_job(build.gather(y, [Source(tensor=x)], finish=Requantise(table=64))),
        Descriptor.of_job(build.loss(logits, errors, 36, tensor=4, alpha=100, on=32768, off=0)),
        *(
            Descriptor.of_job(job, flags=("last",) if job["settle"] else (), sources=(4,), rate_shift=1)
            for job in build.gradient(x, y, geometry=point, images=images)
        ),
        Descriptor.of_job(next(build.gradient_sums(x, y, 500, geometry=point)).job),
    ]  # fmt: skip
    return [
        *jobs,
        Descriptor(opcode=Opcode.LOAD, body=transfer),
        Descriptor(opcode=Opcode.STORE, body={**transfer, "address": DATA + 0x8000}),
        Descriptor(opcode=Opcode.LOAD, body={**transfer, "rows": 1, "base": 0}, flags=frozenset({"wait"})),
        Descriptor(opcode=Opcode.TABLE, body={"address": DATA, "index": 6, "count": 35}),
        Descriptor(opcode=Opcode.BIASES, body={"address": DATA, "index": 64, "count": 40, "row": 395, "shift": 4}),
        Descriptor(opcode=Opcode.ROWS, body={"address": DATA, "row": 140, "count": 2}),
        Descriptor(opcode=Opcode.SAVE, body={"row": 200, "count": scaling_rows(config)}),
        Descriptor(opcode=Opcode.RESTORE, body={"row": 300, "count": scaling_rows(config)}),
        Descriptor(opcode=Opcode.BARRIER),
    ]
