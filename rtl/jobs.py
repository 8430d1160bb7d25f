# SPDX-License-Identifier: Apache-2.0
"""The jobs that units take. Each unit walks its own loops; they meet through streams, never by counting each other.

Addresses: a tensor of ``C`` channels lies in the store block-major: the word of channel block ``c``, image ``n`` and
pixel ``(y, x)`` of an ``h x w`` map is at ``base + c * block_stride + (n * h + y) * w + x``.
"""

from amaranth.hdl import Value, signed, unsigned
from amaranth.lib import data, enum

from respin.rtl.config import MAX_BATCH
from respin.rtl.interfaces import ROW_ADDRESS_BITS, STORE_ADDRESS_BITS

STORE_ADDRESS = unsigned(STORE_ADDRESS_BITS)
ROW_ADDRESS = unsigned(ROW_ADDRESS_BITS)
COUNT = unsigned(16)
IMAGES = unsigned(MAX_BATCH.bit_length())
EXTENT = unsigned(9)
KERNEL = unsigned(4)
CHANNEL = unsigned(12)
TENSOR_ID = unsigned(12)
EXPONENT = signed(16)
"""Of a tensor of errors. An edge moves it by less than 2^8, and no network chains 2^7 of them."""
LOG2_RATE = signed(8)
"""Binary logarithm of the network's learning rate."""
LAYER_LOG2_RATE = signed(9)
"""Of a layer's: the network's and the layer's shift, both of 8 bits."""
GATHER_SOURCES = 4


class ReadJob(data.Struct):
    """Rows ``base .. base + count - 1``, in order; with ``repeats`` sets of ``tiles`` passes each:
    ``for r in repeats: for t in tiles: rows base + r*count .. base + (r+1)*count - 1``."""

    base: ROW_ADDRESS
    count: COUNT
    tiles: COUNT
    repeats: unsigned(8)

    def of_row(self, row: Value) -> list[Value]:
        """Return the assignments that make it a job of the one row ``row``."""
        return [self.base.eq(row), self.count.eq(1), self.tiles.eq(1), self.repeats.eq(1)]


class WindowJob(data.Struct):
    """Words of a tensor under a sliding window.

    ``for r in repeats: for tile: for step in steps: for pixel in tile``, where pixels run over ``(n, oy, ox)``, ox
    fastest, in tiles of ``tile`` (the last one may be shorter), and steps over ``(block, ky, kx)``, kx fastest, from
    ``(block0, ky0, kx0)``. The word is that of ``iy = oy*stride + ky - pad_y``, ``ix = ox*stride + kx*dilation_x -
    pad_x``; where that lies outside the ``h x w`` map every lane of the word is ``pad``. With ``advance`` each repeat
    starts one block further on. ``kx0`` is 0 unless ``dilation_x`` is 1.
    """

    base: STORE_ADDRESS
    block_stride: STORE_ADDRESS
    n: IMAGES
    h: EXTENT
    w: EXTENT
    oh: EXTENT
    ow: EXTENT
    kh: KERNEL
    kw: KERNEL
    dilation_x: KERNEL
    stride: KERNEL
    pad_y: signed(6)
    pad_x: signed(6)
    pad: unsigned(8)
    block0: unsigned(8)
    ky0: KERNEL
    kx0: KERNEL
    steps: COUNT
    tile: COUNT
    repeats: unsigned(8)
    advance: unsigned(1)


class EngineJob(data.Struct):
    """``for r in repeats: for tile: (for step: latch M rows; for item in tile: one word); results of the tile``.

    ``items`` words in tiles of ``tile``; a group of P items makes one entry, the last group of a tile padded with 0.
    ``bits`` (1..8) planes of each word are streamed, ``signed`` if the top one weighs ``-2^(bits-1)``.
    """

    repeats: unsigned(8)
    items: unsigned(24)
    tile: COUNT
    steps: COUNT
    bits: unsigned(4)
    signed: unsigned(1)


class FeedJob(data.Struct):
    """Operands of a weight-gradient pass, besides the window's: errors of ``pixels`` pixels from ``base``.

    For each block of 32 pixels (the last one padded with zero errors): the M rows of channels ``lane0 .. lane0+M-1``,
    then for each of ``steps`` window steps the 32 words of its 32 channels, then, with ``bias``, one word of ones.
    """

    base: STORE_ADDRESS
    pixels: unsigned(24)
    lane0: unsigned(5)
    steps: COUNT
    bias: unsigned(1)


class DepthwiseJob(data.Struct):
    """What each word of a :class:`WindowJob` is multiplied with in a depthwise pass: ``taps`` taps of a kernel row.

    The kernel has ``window.kh`` rows of ``kw`` taps, a row of weights each. A kernel row takes ``window.kw`` words, and
    word ``k`` serves the taps ``k*taps + i`` or, where ``strided``, ``k + i*window.kw``, for ``i`` in ``0 .. taps-1``,
    as far as they are below ``kw``. The column ``c`` that a word belongs to meets tap ``i`` for output ``c - i``, so
    ``window.ow`` columns make ``window.ow - taps + 1`` outputs. Each ``k`` has a tap, and each tap a ``k``.
    """

    kw: KERNEL
    taps: KERNEL
    strided: unsigned(1)
    signed: unsigned(1)


class VectorSource(enum.Enum, shape=unsigned(2)):
    """Where the vector path takes its sums from."""

    ENGINE = 0
    DEPTHWISE = 1
    GATHER = 2


class VectorMode(enum.Enum, shape=unsigned(2)):
    """What the vector path makes of a sum."""

    REQUANTISE = 0
    ERROR = 1
    RAW = 2


class VectorJob(data.Struct):
    """Finish sums and put them into the store.

    ``for r in repeats: for (n, oy, ox): one entry`` of M channels (ENGINE) or 32 (others); repeat ``r`` holds channels
    from ``channel0 + r * (M or 32)``. The entry belongs to pixel ``(oy*step_y + y0, ox*step_x + x0)`` of an ``h x w``
    map. ``channel0`` is a multiple of the M or 32 channels of an entry. Table entries are indexed ``table + channel
    - channel0`` where ``per_channel`` (``table`` is a multiple of 32, or of the vector width); else ``mult``,
    ``shift``, ``lo``, ``hi`` hold for all and the bias is 0. ERROR takes only the multiplier from the table: its
    shift is the job's, its bias 0, its limits -127 and 127. ``unit``: the multiplier is 1 and sums may have 48 bits.
    ``tile``: pixels in the engine's tiles, after each of which the rest of an entry is padding; of no account where
    P = 1 or the source is another. The map may be a band of rows of a larger one: random numbers are those of a tensor
    of ``map_h`` rows, in which the first element of the map, in channel 0, is number ``index``.
    """

    source: VectorSource
    mode: VectorMode
    n: IMAGES
    oh: EXTENT
    ow: EXTENT
    repeats: unsigned(8)
    h: EXTENT
    w: EXTENT
    step_y: KERNEL
    step_x: KERNEL
    y0: KERNEL
    x0: KERNEL
    base: STORE_ADDRESS
    block_stride: STORE_ADDRESS
    raw_stride: STORE_ADDRESS
    channels: CHANNEL
    channel0: CHANNEL
    per_channel: unsigned(1)
    unit: unsigned(1)
    table: COUNT
    mult: unsigned(16)
    shift: unsigned(6)
    lo: signed(9)
    hi: signed(9)
    mask_write: unsigned(1)
    mask_read: unsigned(1)
    mask_base: STORE_ADDRESS
    mask_stride: STORE_ADDRESS
    stochastic: unsigned(1)
    map_h: EXTENT
    index: unsigned(32)
    tile: COUNT


class AxisMap(data.Struct):
    """Source range of output coordinate ``i`` (``oy`` or ``ox`` of the vector job): from ``(i*num + add) // den``, one
    element, or with ``span`` up to the start of ``i+1``. Elements at or past the source's extent contribute nothing."""

    num: EXTENT
    den: EXTENT
    add: EXTENT
    span: unsigned(1)


class GatherSource(data.Struct):
    """One operand of a gathered sum: ``((x - zero) * m << 15*wide) >> align``; ``m`` is ``mult``, or the table's
    multiplier at ``table + channel - channel0`` with ``per_channel``. ``signed``: the tensor holds int8, else uint8."""

    base: STORE_ADDRESS
    block_stride: STORE_ADDRESS
    h: EXTENT
    w: EXTENT
    y: AxisMap
    x: AxisMap
    signed: unsigned(1)
    zero: signed(9)
    mult: unsigned(16)
    per_channel: unsigned(1)
    table: COUNT
    align: unsigned(6)


class GatherJob(data.Struct):
    """Sums over up to four sources for the entries of a :class:`VectorJob` with source GATHER."""

    count: unsigned(3)
    wide: unsigned(1)
    sources: data.ArrayLayout(GatherSource, GATHER_SOURCES)


class LossJob(data.Struct):
    """Softmax cross-entropy of ``n`` images: int8 logits at ``base``, errors to ``out``.

    The label of image ``i`` is the word at ``labels + i``: lane 0 holds its low byte, lane 1 its high byte.
    """

    base: STORE_ADDRESS
    block_stride: STORE_ADDRESS
    out: STORE_ADDRESS
    out_stride: STORE_ADDRESS
    labels: STORE_ADDRESS
    n: IMAGES
    classes: CHANNEL
    alpha: unsigned(16)
    on: unsigned(16)
    off: unsigned(16)
    stochastic: unsigned(1)


class UpdateJob(data.Struct):
    """Turn the sums of one weight-gradient tile into ternary steps and write the rows of both images back.

    The engine delivers, for each of ``steps`` window steps (over (block, tap), tap fastest, from tap ``tap0`` of
    ``taps``), 32 entries (inputs ``k`` of the block, M outputs from ``o0``), then with ``bias`` one entry of the
    bias. In a layer of ``O`` outputs and ``I`` inputs (``group_out`` and ``group_in`` in each group), from step
    ``(block0, tap0)`` and with ``o_group = o0 // group_out``:

    - ``base`` is the image's row of (o0, block0, tap0): tiles follow each other there, M rows each;
    - ``transposed_base`` is the transposed image's row of (input 32*block0, o0 // 32, tap0), ``transposed_stride`` its
      ``ceil(O/32) * taps * M`` rows from M inputs to the next; a tap lies M rows before the one before it;
    - ``bias_base`` is the bias image's row ``o0 // 32``;
    - ``index = (o0 - o_group) * index_stride + 32 * block0 * taps`` and ``index_stride = group_in * taps``;
    - ``o_offset = o0 % group_out``, ``k_group = 32*block0 // group_in``, ``k_offset = 32*block0 % group_in``.

    ``outputs`` is O. ``apply``, ``bias_apply``: 0 only measures.
    """

    base: ROW_ADDRESS
    transposed: unsigned(1)
    transposed_base: ROW_ADDRESS
    transposed_stride: ROW_ADDRESS
    bias: unsigned(1)
    bias_base: ROW_ADDRESS
    steps: COUNT
    taps: unsigned(8)
    tap0: unsigned(8)
    o0: CHANNEL
    outputs: CHANNEL
    index: unsigned(24)
    index_stride: unsigned(24)
    group_out: CHANNEL
    o_group: CHANNEL
    o_offset: CHANNEL
    group_in: CHANNEL
    k_group: CHANNEL
    k_offset: CHANNEL
    tensor: TENSOR_ID
    bias_tensor: TENSOR_ID
    apply: unsigned(1)
    bias_apply: unsigned(1)


class Pass(enum.Enum, shape=unsigned(3)):
    """Which units a job starts and how their streams are connected."""

    CONVOLUTION = 0
    """MRAM rows and window words through the engine into the vector path: forward and error passes."""
    DEPTHWISE = 1
    """MRAM rows and window words through the depthwise unit into the vector path."""
    GATHER = 2
    """Sums of store tensors into the vector path: merge, pool, upsample, their backward, meeting errors."""
    LOSS = 3
    """Logits to errors through the loss head."""
    GRADIENT = 4
    """Errors and window words through the transposer and the engine into the update unit."""
    GRADIENT_RAW = 5
    """The same, but the int32 gradient goes to the store through the vector path."""


class Job(data.Struct):
    """One job of the accelerator: a pass and the jobs of the units that take part in it.

    ``tensor`` names the tensor of errors that a pass puts out (its random numbers and its entry in the scale table);
    with ``scaled`` its shift comes from that table, plus ``rebase``: the exponent with which errors came in when the
    shift was measured, less the one with which they come in now (docs/arithmetic.md). ``settle`` marks the last job
    of a tensor in a step: the largest magnitude measured over its jobs goes to the table, or, after a gradient pass,
    the gradient's statistics go to the table of largest gradients. ``log2_rate`` is the layer's learning rate, of which
    positive ones count as 0, and ``exponent`` that of the errors that a gradient pass starts from.
    """

    kind: Pass
    seed: unsigned(32)
    step: unsigned(20)
    tensor: TENSOR_ID
    scaled: unsigned(1)
    rebase: signed(8)
    settle: unsigned(1)
    log2_rate: LAYER_LOG2_RATE
    exponent: EXPONENT
    window: WindowJob
    read: ReadJob
    engine: EngineJob
    feed: FeedJob
    depthwise: DepthwiseJob
    vector: VectorJob
    gather: GatherJob
    loss: LossJob
    update: UpdateJob
