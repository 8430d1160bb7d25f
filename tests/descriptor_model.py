# SPDX-License-Identifier: Apache-2.0
"""When a descriptor must be refused, in plain Python, by walking what its units would walk.

Extents are found by listing what is touched where the hardware multiplies, so the two share no formula; where a list
would be too long the answer is known from its length.
"""

from collections.abc import Iterator
from typing import Any

from respin.rtl.config import AcceleratorConfig

CONVOLUTION, DEPTHWISE, GATHER, LOSS, GRADIENT, RAW = range(6)
END, JOB, LOAD, STORE, TABLE, BIASES, ROWS, BARRIER, COMMIT, SAVE, RESTORE = range(1, 12)
ENGINE, FROM_DEPTHWISE, FROM_GATHER = range(3)
ERROR, RAW_MODE = 1, 2


class RefusedError(Exception):
    """The descriptor asks for what cannot be done."""


def require(condition: bool, what: str) -> None:
    """Raise RefusedError unless ``condition`` holds."""
    if not condition:
        raise RefusedError(what)


def ceil(a: int, b: int) -> int:
    """``a / b``, rounded up."""
    return -(-a // b)


class DescriptorModel:
    """Judges descriptors, given as nested dictionaries of every field.

    Parameters
    ----------
    config, rows:
        The machine, and the rows that the program may write.
    """

    def __init__(self, config: AcceleratorConfig, rows: range) -> None:
        self.config, self.rows = config, rows
        self.open: int | None = None

    def judge(self, fields: dict[str, Any], *, last: bool) -> str:
        """Return why it is refused; empty if it is not."""
        header = fields["header"]
        try:
            require(header["magic"] == 0x4452 and header["version"] == 2, "opcode")
            require(header["opcode"] in range(END, RESTORE + 1), "opcode")
            self._header(fields, last)
            {
                JOB: self._job, LOAD: self._transfer, STORE: self._transfer, TABLE: self._table, BIASES: self._biases,
                ROWS: self._rows, COMMIT: self._commit, SAVE: self._save, RESTORE: self._restore,
            }.get(header["opcode"], lambda _: None)(fields)  # fmt: skip
        except RefusedError as refused:
            return str(refused)
        if header["opcode"] == JOB and header["flags"]["edge"]:
            self.open = None if header["flags"]["last"] else header["tensor"]
        return ""

    def _header(self, fields: dict[str, Any], last: bool) -> None:
        header, flags, ids = fields["header"], fields["header"]["flags"], self.config.tensor_ids
        is_job, kind = header["opcode"] == JOB, header["kind"]
        edge = is_job and flags["edge"]
        require(not flags["reserved"], "flags")
        require(flags["wait"] or not (flags["loads"] or flags["stores"]), "flags")
        if flags["beside"]:
            joins = is_job and not edge and kind in (CONVOLUTION, DEPTHWISE, GATHER)
            own = 1 if kind == CONVOLUTION else 2
            joins = joins and not flags["beside"] & own
            require(joins or header["opcode"] in (LOAD, STORE, TABLE), "flags")
        if not is_job:
            require(not any(flags[name] for name in ("edge", "first", "last", "fan_in")), "flags")
        if edge:
            require(kind in (CONVOLUTION, DEPTHWISE, GATHER) and fields["job"]["vector"]["mode"] == ERROR, "flags")
        elif is_job:
            require(not flags["first"] and (not flags["last"] or kind == GRADIENT), "flags")
        if is_job and flags["fan_in"]:
            require(bool(edge and kind == GATHER), "flags")
        require((header["opcode"] == END) == last, "order")
        if header["opcode"] == END:
            require(self.open is None, "order")
        if not is_job and self.open is not None:
            require(not any(source["valid"] for source in header["sources"]), "order")
        if is_job:
            goes_on = edge and not flags["first"]
            require(bool(goes_on) == (self.open is not None), "order")
            require(self.open in (None, header["tensor"]), "order")
        if edge or (is_job and kind == LOSS):
            require(header["tensor"] < ids, "tensor")
        for source in header["sources"]:
            require(not source["valid"] or source["id"] < ids, "tensor")
        if edge:
            require(bool(header["sources"][0]["valid"]), "tensor")
        if is_job and flags["fan_in"]:
            present = [bool(source["valid"]) for source in header["sources"]]
            require(present == [number < fields["job"]["gather"]["count"] for number in range(4)], "tensor")

    # Transfers.

    def _external(self, first: int, last_end: int, *aligned: int) -> None:
        require(all(value % 32 == 0 for value in (first, *aligned)), "external")
        require(last_end <= 1 << 32, "external")

    def _transfer(self, fields: dict[str, Any]) -> None:
        body = fields["transfer"]
        require(body["words"] > 0 and body["rows"] > 0, "count")
        last = body["rows"] - 1
        require(body["base"] + last * body["base_pitch"] + body["words"] <= self.config.store_words, "store")
        self._external(
            body["address"], body["address"] + last * body["pitch"] + 32 * body["words"], body["pitch"]
        )  # fmt: skip

    def _table(self, fields: dict[str, Any]) -> None:
        body = fields["table"]
        require(body["count"] > 0, "count")
        require(body["index"] + body["count"] <= self.config.table_channels, "table")
        self._external(body["address"], body["address"] + 32 * ceil(body["count"], 2))

    def _biases(self, fields: dict[str, Any]) -> None:
        self._table(fields)
        body = fields["biases"]
        require(body["shift"] <= 24, "limit")
        require(body["row"] + ceil(body["count"], 32) <= self.config.usable_rows, "rows")

    def _rows(self, fields: dict[str, Any]) -> None:
        body = fields["rows"]
        require(body["count"] > 0, "count")
        self._writes(range(body["row"], body["row"] + body["count"]))
        self._external(body["address"], body["address"] + 32 * body["count"])

    def _commit(self, _: dict[str, Any]) -> None:
        require(len(self.rows) > 0, "rows")

    def _save(self, fields: dict[str, Any]) -> None:
        self._writes(self._scaling(fields))

    def _restore(self, fields: dict[str, Any]) -> None:
        require(self._scaling(fields).stop <= self.config.usable_rows, "rows")

    def _scaling(self, fields: dict[str, Any]) -> range:
        body = fields["scaling"]
        require(body["count"] == ceil(8 * self.config.tensor_ids, 32), "count")
        return range(body["row"], body["row"] + body["count"])

    def _writes(self, rows: range) -> None:
        require(self.rows.start <= rows[0] and rows[-1] < self.rows.stop, "rows")

    # Jobs.

    def _job(self, fields: dict[str, Any]) -> None:
        kind, job = fields["header"]["kind"], fields["job"]
        require(kind <= RAW, "kind")
        self._counts(kind, job)
        windowed = kind in (CONVOLUTION, DEPTHWISE, GRADIENT, RAW)
        if kind in (CONVOLUTION, GRADIENT, RAW):
            require(1 <= job["engine"]["bits"] <= 8, "limit")
            require(job["engine"]["tile"] <= self.config.acc_depth * self.config.pixels, "limit")
        if windowed:
            self._window(kind, job)
        if kind == CONVOLUTION:
            self._convolution(job)
        if kind == DEPTHWISE:
            self._depthwise(job)
        if kind in (GRADIENT, RAW):
            self._gradient(kind, job)
        if kind in (CONVOLUTION, DEPTHWISE, GATHER, RAW):
            self._vector(kind, job)
        if kind == GATHER:
            self._gather(job)
        if kind == LOSS:
            self._loss(job["loss"])

    @staticmethod
    def _counts(kind: int, job: dict[str, Any]) -> None:
        positive = {
            "window": ("n", "h", "w", "oh", "ow", "kh", "kw", "dilation_x", "stride", "steps", "tile", "repeats"),
            "vector": ("n", "oh", "ow", "repeats", "h", "w", "step_y", "step_x"),
            "read": ("count", "tiles", "repeats"),
            "engine": ("repeats", "items", "tile", "steps"),
            "feed": ("pixels", "steps"),
            "depthwise": ("kw", "taps"),
            "loss": ("n", "classes"),
            "update": ("taps",),
        }
        parts = {
            CONVOLUTION: ("window", "read", "engine", "vector"), DEPTHWISE: ("window", "read", "depthwise", "vector"),
            GATHER: ("vector",), LOSS: ("loss",), GRADIENT: ("window", "engine", "feed", "update"),
            RAW: ("window", "engine", "feed", "vector"),
        }[kind]  # fmt: skip
        for part in parts:
            require(all(job[part][name] > 0 for name in positive[part]), "count")

    def _touch(self, base: int, stride: int, blocks: int, words: int) -> None:
        """The last word of the last block lies in the store; blocks go up."""
        end = max(base + block * stride + words for block in (0, blocks - 1))
        require(end <= self.config.store_words, "store")

    def _walked_blocks(self, window: dict[str, int]) -> int:
        """Blocks of channels from 0 to the last one that the window's walk comes to."""
        block, ky, kx = window["block0"], window["ky0"], window["kx0"]
        steps = window["steps"]
        taps = window["kh"] * window["kw"]
        for _ in range(min(steps - 1, taps)):  # to the end of the first block, tap by tap
            kx += 1
            if kx == window["kw"]:
                kx, ky = 0, ky + 1
            if ky == window["kh"]:
                ky, block = 0, block + 1
            steps -= 1
        block += (steps - 1 + ky * window["kw"] + kx) // taps
        require(block < 512, "store")
        return block + (window["repeats"] - 1 if window["advance"] else 0) + 1

    def _window(self, kind: int, job: dict[str, Any]) -> None:
        window = job["window"]
        require(window["ky0"] < window["kh"] and window["kx0"] < window["kw"], "limit")
        require(window["dilation_x"] == 1 or window["kx0"] == 0, "limit")
        pixels = window["n"] * window["oh"] * window["ow"]
        if kind != DEPTHWISE:
            require(pixels == (job["engine"]["items"] if kind == CONVOLUTION else job["feed"]["pixels"]), "agreement")
        words = window["n"] * window["h"] * window["w"]
        self._touch(window["base"], window["block_stride"], self._walked_blocks(window), words)

    def _read(self, read: dict[str, int]) -> None:
        require(read["base"] + read["count"] * read["repeats"] <= self.config.usable_rows, "rows")

    def _convolution(self, job: dict[str, Any]) -> None:
        window, read, engine, vector = job["window"], job["read"], job["engine"], job["vector"]
        require(engine["steps"] == window["steps"] and engine["tile"] == window["tile"], "agreement")
        require(len({part["repeats"] for part in (window, read, engine, vector)}) == 1, "agreement")
        require(read["count"] == engine["steps"] * self.config.slices, "agreement")
        require(read["tiles"] == ceil(engine["items"], engine["tile"]), "agreement")
        require(self.config.pixels == 1 or vector["tile"] == engine["tile"], "agreement")
        require(all(window[name] == vector[name] for name in ("n", "oh", "ow")), "agreement")
        self._read(read)

    def _depthwise(self, job: dict[str, Any]) -> None:
        window, read, unit, vector = job["window"], job["read"], job["depthwise"], job["vector"]
        require(read["count"] <= 64 and unit["taps"] <= self.config.depthwise_taps, "limit")
        require(window["repeats"] == read["repeats"] == vector["repeats"], "agreement")
        require(window["tile"] == 1 and read["tiles"] == 1, "agreement")
        require(all(window[name] == vector[name] for name in ("n", "oh")), "agreement")
        require(window["ow"] == vector["ow"] + unit["taps"] - 1, "agreement")
        require(window["steps"] == window["kh"] * window["kw"], "agreement")
        require(read["count"] == window["kh"] * unit["kw"], "agreement")
        # Which word of a kernel row has which tap: each has one, and each tap a word and a place in it.
        if unit["strided"]:
            places = [divmod(tap, window["kw"])[::-1] for tap in range(unit["kw"])]
        else:
            places = [divmod(tap, unit["taps"]) for tap in range(unit["kw"])]
        require({word for word, _ in places} == set(range(window["kw"])), "agreement")
        require(all(place < unit["taps"] for _, place in places), "agreement")
        self._read(read)

    def _gradient(self, kind: int, job: dict[str, Any]) -> None:
        window, feed, engine, update = job["window"], job["feed"], job["engine"], job["update"]
        require(feed["lane0"] + self.config.slices <= 32, "limit")
        require(feed["steps"] == window["steps"] and window["tile"] == 32, "agreement")
        require(window["repeats"] == 1 and engine["repeats"] == 1, "agreement")
        require(engine["items"] == engine["tile"] == 32 * feed["steps"] + feed["bias"], "agreement")
        require(engine["steps"] == ceil(feed["pixels"], 32), "agreement")
        require(feed["base"] + feed["pixels"] <= self.config.store_words, "store")
        if kind == RAW:
            return
        require(update["steps"] == feed["steps"] and update["bias"] == feed["bias"], "agreement")
        require(update["tap0"] < update["taps"], "limit")
        require(update["k_offset"] < update["group_in"] and update["o_offset"] < update["group_out"], "limit")
        require(update["o_group"] + self.config.slices <= 4096, "limit")
        ids = [update["tensor"], *([update["bias_tensor"]] if update["bias"] else [])]
        require(all(number < self.config.tensor_ids for number in ids), "tensor")
        slices = self.config.slices
        self._writes(range(update["base"], update["base"] + update["steps"] * slices))
        if update["bias"]:
            self._writes(range(update["bias_base"], update["bias_base"] + 1))
        if update["transposed"]:
            for row in self._transposed(update):
                self._writes(range(row, row + 1))

    def _transposed(self, update: dict[str, int]) -> Iterator[int]:
        """Rows of the transposed image that a step could fall into, the way UpdateJob and IndexWalk tell it, and the
        lowest one of the first block."""
        slices, taps, stride = self.config.slices, update["taps"], update["transposed_stride"]
        first = update["transposed_base"] - (taps - 1 - update["tap0"]) * slices
        yield first
        groups, group, offset = set(), update["o_group"], update["o_offset"]
        for output in range(update["o0"], update["o0"] + slices):
            if output < update["outputs"]:
                groups.add(group)
            offset += 1
            if offset == update["group_out"]:
                group, offset = group + 1, 0
        if not groups:
            return
        lines = 32 * ceil(update["tap0"] + update["steps"], taps)
        require(update["k_group"] + lines <= 4096, "limit")
        group, offset = update["k_group"], update["k_offset"]
        last = None
        for k in range(lines):
            if group <= max(groups):
                last = k
            offset += 1
            if offset == update["group_in"]:
                group, offset = group + 1, 0
        if last is not None:
            yield first + last // slices * stride + taps * slices - 1

    def _vector(self, kind: int, job: dict[str, Any]) -> None:
        vector = job["vector"]
        source = {CONVOLUTION: ENGINE, RAW: ENGINE, DEPTHWISE: FROM_DEPTHWISE, GATHER: FROM_GATHER}[kind]
        require(vector["source"] == source and vector["mode"] <= RAW_MODE, "kind")
        if kind == RAW:
            require(vector["mode"] == RAW_MODE, "kind")
            require(vector["n"] == vector["oh"] == vector["repeats"] == 1, "agreement")
            require(vector["ow"] == job["engine"]["items"], "agreement")
            require(self.config.pixels == 1 or vector["tile"] == job["engine"]["tile"], "agreement")
        width = self.config.slices if source == ENGINE else 32
        end = vector["channel0"] + vector["repeats"] * width
        require(vector["channel0"] % width == 0 and end <= 4096, "limit")
        require((vector["oh"] - 1) * vector["step_y"] + vector["y0"] < vector["h"], "store")
        require((vector["ow"] - 1) * vector["step_x"] + vector["x0"] < vector["w"], "store")
        words, blocks = vector["n"] * vector["h"] * vector["w"], ceil(end, 32)
        more = 3 * vector["raw_stride"] if vector["mode"] == RAW_MODE else 0
        self._touch(vector["base"] + more, vector["block_stride"], blocks, words)
        if vector["mask_read"] or vector["mask_write"]:
            self._touch(vector["mask_base"], vector["mask_stride"], blocks, ceil(words, 8))
        if vector["per_channel"]:
            self._entries(vector["table"], vector["repeats"] * width)

    def _entries(self, first: int, count: int) -> None:
        require(first % self.config.vector_width == 0, "table")
        require(first + count <= self.config.table_channels, "table")

    def _gather(self, job: dict[str, Any]) -> None:
        gather, vector = job["gather"], job["vector"]
        require(1 <= gather["count"] <= 4, "count")
        blocks = ceil(vector["channel0"] + 32 * vector["repeats"], 32)
        for source in gather["sources"][: gather["count"]]:
            require(min(source["h"], source["w"], source["y"]["den"], source["x"]["den"]) > 0, "count")
            self._touch(source["base"], source["block_stride"], blocks, vector["n"] * source["h"] * source["w"])
            if source["per_channel"]:
                self._entries(source["table"], 32 * vector["repeats"])

    def _loss(self, loss: dict[str, int]) -> None:
        require(loss["classes"] <= 1024 and loss["on"] <= 32768 and loss["off"] <= 32768, "limit")
        blocks = ceil(loss["classes"], 32)
        self._touch(loss["base"], loss["block_stride"], blocks, loss["n"])
        self._touch(loss["out"], loss["out_stride"], blocks, loss["n"])
        require(loss["labels"] + loss["n"] <= self.config.store_words, "store")
