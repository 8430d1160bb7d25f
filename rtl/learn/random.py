# SPDX-License-Identifier: Apache-2.0
"""Counter-based random numbers: the Simon32/64 block cipher cut to a few rounds."""

from amaranth.hdl import Array, Cat, Const, Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import RANDOM_ROUNDS

SIMON_ROUNDS = 32
"""Rounds of the published cipher, the most that its constant sequence is used for here."""
WORD_BITS = 16
KEY_WORDS = 4

# The constant sequence z0 of the Simon family (Beaulieu et al., "The SIMON and SPECK families of lightweight block
# ciphers", 2013), leftmost bit first.
_Z0 = "11111010001001010110000111001101111101000100101011000011100110"


class KeySchedule(wiring.Component):
    """Expands a Simon32/64 key into its round keys, one word a cycle, and holds them.

    ``key`` holds the words k0 (low) to k3. A pulse on ``load`` takes it; ``ready`` falls in the next cycle and rises
    ``max(1, rounds - 3)`` cycles after the pulse, when ``words[i]`` is the key of round ``i``.

    Parameters
    ----------
    rounds:
        Round keys to make, 4..32.

    Members
    -------
    key : In(64)
    load : In(1)
    ready : Out(1)
        The round keys are whole. Low from reset to the end of the first expansion.
    words : Out(ArrayLayout(16, rounds))

    Raises
    ------
    TypeError, ValueError
        For ``rounds`` of the wrong type or out of range.
    """

    def __init__(self, *, rounds: int) -> None:
        if not isinstance(rounds, int) or isinstance(rounds, bool):
            raise TypeError(f"rounds must be an integer, not {rounds!r}")
        if not KEY_WORDS <= rounds <= SIMON_ROUNDS:
            raise ValueError(f"rounds must be in {KEY_WORDS}..{SIMON_ROUNDS}, not {rounds!r}")
        self._rounds = rounds
        super().__init__({
            "key": In(KEY_WORDS * WORD_BITS),
            "load": In(1),
            "ready": Out(1),
            "words": Out(data.ArrayLayout(unsigned(WORD_BITS), rounds)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rounds, words = self._rounds, self.words
        made = Signal(range(KEY_WORDS, rounds + 1))

        # The words move down as new ones enter at the top, so that each step takes its operands from fixed places.
        mixed = words[rounds - 1].rotate_right(3) ^ words[rounds - 3]
        constants = Array(Const(int(bit) ^ 3, 2) for bit in _Z0[: max(1, rounds - KEY_WORDS)])
        word = ~words[rounds - 4] ^ mixed ^ mixed.rotate_right(1) ^ constants[made - KEY_WORDS]

        started = Signal()
        with m.If(self.load):
            m.d.sync += [
                words.as_value()[-len(self.key) :].eq(self.key),
                made.eq(KEY_WORDS),
                started.eq(1),
            ]
        with m.Elif(made != rounds):
            m.d.sync += [
                words.as_value().eq(Cat(words.as_value()[WORD_BITS:], word)),
                made.eq(made + 1),
            ]
        m.d.comb += self.ready.eq(started & (made == rounds))
        return m


class RandomLanes(wiring.Component):
    """Random numbers that are a function of (seed, step, tensor id, index) alone.

    Each lane encrypts its index with Simon32/64 cut to ``rounds`` rounds: the plaintext's left word ``x`` is
    ``index[31:16]``, its right word ``y`` ``index[15:0]``; round ``i`` makes
    ``x, y = y ^ (rol1(x) & rol8(x)) ^ rol2(x) ^ k_i, x``; ``random`` is ``x`` after the last one. The key's words are
    ``k0 = seed[15:0]``, ``k1 = seed[31:16]``, ``k2 = step[15:0]``, ``k3 = {tensor[11:0], step[19:16]}``, which is
    ``Cat(seed, step, tensor)``.

    Latency: ``latency`` = ``rounds`` cycles in which ``en`` is high, one LUT of five inputs each; two rounds a cycle
    would halve the flip-flops, but synthesis then spends twice the LUTs. Throughput: one index per lane and cycle.
    The round keys are held by all lanes in common, so a key must be loaded only when no index is under way; it takes
    ``max(1, rounds - 3)`` cycles.

    Parameters
    ----------
    lanes:
        Indices encrypted side by side.
    rounds:
        Rounds of the cipher, 4..32; all presets use :data:`respin.rtl.config.RANDOM_ROUNDS`.

    Members
    -------
    key : In(64)
    load : In(1)
        Takes ``key``.
    ready : Out(1)
        The key is expanded.
    en : In(1)
        Lets the pipeline move.
    index : In(ArrayLayout(32, lanes))
    random : Out(ArrayLayout(16, lanes))
    block : Out(ArrayLayout(32, lanes))
        The whole cipher text ``{x, y}``; ``random`` is its high half.

    Raises
    ------
    TypeError, ValueError
        For ``lanes`` or ``rounds`` of the wrong type or out of range.
    """

    def __init__(self, *, lanes: int, rounds: int = RANDOM_ROUNDS) -> None:
        if not isinstance(lanes, int) or isinstance(lanes, bool):
            raise TypeError(f"lanes must be an integer, not {lanes!r}")
        if lanes < 1:
            raise ValueError(f"lanes must be at least 1, not {lanes!r}")
        self._lanes = lanes
        self._schedule = KeySchedule(rounds=rounds)
        self._rounds = rounds
        super().__init__({
            "key": In(KEY_WORDS * WORD_BITS),
            "load": In(1),
            "ready": Out(1),
            "en": In(1),
            "index": In(data.ArrayLayout(unsigned(2 * WORD_BITS), lanes)),
            "random": Out(data.ArrayLayout(unsigned(WORD_BITS), lanes)),
            "block": Out(data.ArrayLayout(unsigned(2 * WORD_BITS), lanes)),
        })

    @property
    def latency(self) -> int:
        """Enabled cycles from ``index`` to ``random``."""
        return self._rounds

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.schedule = schedule = self._schedule
        m.d.comb += [schedule.key.eq(self.key), schedule.load.eq(self.load), self.ready.eq(schedule.ready)]
        for lane in range(self._lanes):
            x, y = self.index[lane][WORD_BITS:], self.index[lane][:WORD_BITS]
            for i in range(self._rounds):
                stage = Signal(2 * WORD_BITS, name=f"stage{lane}_{i}")
                mixed = y ^ (x.rotate_left(1) & x.rotate_left(8)) ^ x.rotate_left(2) ^ schedule.words[i]
                with m.If(self.en):
                    m.d.sync += stage.eq(Cat(x, mixed))
                x, y = stage[WORD_BITS:], stage[:WORD_BITS]
            m.d.comb += [self.block[lane].eq(Cat(y, x)), self.random[lane].eq(x)]
        return m
