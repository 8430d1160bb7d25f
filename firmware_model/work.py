# SPDX-License-Identifier: Apache-2.0
"""How much each unit does in a program, from the fields of its descriptors: rows, words, bit-MACs, bytes.

What hangs on values is not here: which rows an update reads and rewrites, and edges that a training step skips because
their scales are not yet valid. Small and left out: words of masks, and those that the loss head reads and writes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from respin.firmware_model.cycle_model import CycleModel, range_sizes, tile_sizes
from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.emitter import ENTRY_BYTES, WORD_BYTES
from respin.rtl.config import BLOCK, ROW_WEIGHTS, AcceleratorConfig
from respin.rtl.jobs import Pass, VectorMode, VectorSource
from respin.rtl.sequencer.descriptor import DESCRIPTOR_BYTES, Opcode
from respin.rtl.vector.loop import RAW_BYTES

Fields = Mapping[str, Any]

BETWEEN_JOBS = 5
"""Cycles of the sequencer from a job's report to the next job (docs/sequencer.md)."""


class Work:
    """Adds up what programs do.

    Parameters
    ----------
    config:
        The machine.
    read_cycles:
        Cycles of a READ of the macro.
    """

    def __init__(self, config: AcceleratorConfig, *, read_cycles: int) -> None:
        self._config = config
        self._lanes = config.slices * config.pixels * config.lanes
        self._model = CycleModel(config, read_cycles=read_cycles)

    def of_program(self, descriptors: Iterable[Descriptor], *, writes_rows: bool) -> dict[str, int]:
        """Return the counts of a program of which every descriptor runs.

        One that ``writes_rows`` is fetched twice: as a whole to be checked, and again to be run. Keys are
        :data:`KEYS`. ``cycles`` are those of jobs and between them; ``macs`` are those of engine and depthwise unit,
        channels that pad a row or a word included.
        """
        counts = Counter(dict.fromkeys(KEYS, 0))
        counts["descriptor_bytes"] = DESCRIPTOR_BYTES  # the header's
        for descriptor in descriptors:
            counts["descriptor_bytes"] += DESCRIPTOR_BYTES * (2 if writes_rows else 1)
            if descriptor.opcode is Opcode.JOB:
                counts.update(self.of_job(job_fields(descriptor)))
            else:
                counts.update(_transfer(descriptor.opcode, descriptor.body))
        counts["external_bytes"] = sum(counts[name] for name in EXTERNAL)
        counts["lane_cycles"] = counts["cycles"] * self._lanes
        return dict(counts)

    def of_job(self, job: Fields) -> Counter[str]:
        """Return the counts of one job."""
        counts = Counter(cycles=self._model.cycles(job) + BETWEEN_JOBS)
        match job["kind"]:
            case Pass.CONVOLUTION:
                counts += self._rows(job) + self._engine(job) + self._window(job) + self._vector(job)
            case Pass.DEPTHWISE:
                counts += self._rows(job) + self._depthwise(job) + self._window(job) + self._vector(job)
            case Pass.GATHER:
                counts += self._gather(job) + self._vector(job)
            case Pass.GRADIENT:
                counts += self._engine(job) + self._window(job)
                sums = job["engine"]["items"] * job["engine"]["repeats"] * self._config.slices
                counts.update(store_words=job["feed"]["pixels"], sums_updated=sums)
            case Pass.GRADIENT_RAW:
                counts += self._engine(job) + self._window(job) + self._vector(job)
                counts.update(store_words=job["feed"]["pixels"])
        return counts

    def _rows(self, job: Fields) -> Counter[str]:
        read = job["read"]
        return Counter(rows_read=read["count"] * read["tiles"] * read["repeats"])

    def _engine(self, job: Fields) -> Counter[str]:
        """The slices work in whole groups of P words, the last one of a tile padded."""
        config, engine = self._config, job["engine"]
        groups = sum(-(-size // config.pixels) for size in tile_sizes(engine))
        busy = engine["repeats"] * engine["steps"] * groups * engine["bits"] * config.beats
        sums = config.slices * config.pixels
        return Counter(
            engine_cycles=busy,
            bit_macs=busy * self._lanes,
            accumulations=busy * sums,
            macs=engine["repeats"] * engine["steps"] * engine["items"] * ROW_WEIGHTS * config.slices,
        )

    def _depthwise(self, job: Fields) -> Counter[str]:
        vector = job["vector"]
        outputs = vector["repeats"] * vector["n"] * vector["oh"] * vector["ow"]
        macs = outputs * job["window"]["kh"] * job["depthwise"]["kw"] * BLOCK
        return Counter(depthwise_macs=macs, macs=macs)

    def _window(self, job: Fields) -> Counter[str]:
        """Words that lie in the padding are made, not read; they count all the same."""
        window = job["window"]
        return Counter(store_words=window["repeats"] * window["n"] * window["oh"] * window["ow"] * window["steps"])

    def _vector(self, job: Fields) -> Counter[str]:
        vector = job["vector"]
        width = self._config.slices if VectorSource(vector["source"]) is VectorSource.ENGINE else BLOCK
        pixels = vector["n"] * vector["oh"] * vector["ow"]
        channels = min(vector["repeats"] * width, vector["channels"] - vector.get("channel0", 0))
        bytes_each = RAW_BYTES if VectorMode(vector["mode"]) is VectorMode.RAW else 1
        return Counter(
            channels_finished=pixels * channels, store_words=pixels * vector["repeats"] * bytes_each
        )  # fmt: skip

    def _gather(self, job: Fields) -> Counter[str]:
        """A word is read anew for each group of V channels."""
        gather, vector = job["gather"], job["vector"]
        words = sum(
            int(range_sizes(source["y"], vector["oh"], source["h"]).sum())
            * int(range_sizes(source["x"], vector["ow"], source["w"]).sum())
            for source in gather["sources"][: gather["count"]]
        )
        words *= vector["repeats"] * vector["n"]
        return Counter(store_words=words * (BLOCK // self._config.vector_width), elements_gathered=words * BLOCK)


EXTERNAL = ("descriptor_bytes", "tensor_bytes", "table_bytes", "row_bytes")
"""What ``external_bytes`` is made of: descriptors, tensors, entries of the table, rows of weights."""
KEYS = (
    "cycles", "rows_read", "engine_cycles", "macs", "bit_macs", "accumulations", "depthwise_macs", "channels_finished",
    "elements_gathered", "sums_updated", "store_words", *EXTERNAL, "external_bytes", "lane_cycles",
)  # fmt: skip
"""What :class:`Work` counts."""


def job_fields(descriptor: Descriptor) -> dict[str, Any]:
    """Return the job of a JOB descriptor that was unpacked, as the cycle model takes it."""
    body = dict(descriptor.body)
    if "vector" in body:
        vector = body["vector"]
        body["vector"] = {**vector, "mode": VectorMode(vector["mode"]), "source": VectorSource(vector["source"])}
    return {**body, "kind": descriptor.kind, "settle": "last" in descriptor.flags}


def _transfer(opcode: Opcode, body: Fields) -> Counter[str]:
    match opcode:
        case Opcode.LOAD | Opcode.STORE:
            words = body["rows"] * body["words"]
            return Counter(store_words=words, tensor_bytes=words * WORD_BYTES)
        case Opcode.TABLE:
            return Counter(table_bytes=body["count"] * ENTRY_BYTES)
        case Opcode.BIASES:
            rows = -(-body["count"] // ROW_WEIGHTS)
            return Counter(table_bytes=body["count"] * ENTRY_BYTES, rows_read=rows)
        case Opcode.ROWS:
            return Counter(row_bytes=body["count"] * ROW_WEIGHTS)
        case Opcode.RESTORE:
            return Counter(rows_read=body["count"])
    return Counter()
