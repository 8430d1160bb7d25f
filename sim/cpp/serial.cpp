// SPDX-License-Identifier: Apache-2.0
//
// Drives a compiled bench by the two pins of a serial line (sim/serial_line.py). What the line's other end does to the
// levels is Python's affair; bytes that come back are taken here, as a serial port takes them.

#include "bench.h"

namespace {

class Simulation : public Bench {
public:
    Simulation(uint32_t bit_cycles, int argc, const char** argv) : Bench(argc, argv), bit_cycles_(bit_cycles) {
        top_->rx = 1;
        apply();
    }

    // Put `count` levels onto the line, a bit's time each; returns how many bytes came meanwhile.
    uint64_t play(const uint8_t* levels, uint64_t count, uint8_t* bytes, uint64_t room) {
        uint64_t found = 0;
        for (uint64_t bit = 0; bit < count; ++bit) {
            if (top_->rx != levels[bit]) {
                top_->rx = levels[bit];
                apply();
            }
            for (uint32_t left = bit_cycles_; left; --left) {
                edge();
                if (listen() && found < room) bytes[found++] = byte_;
            }
        }
        return found;
    }

private:
    // Look at the line from the board; true when a byte has come.
    bool listen() {
        if (!left_) {
            if (top_->tx) return false;
            left_ = 10 * bit_cycles_ - bit_cycles_ / 2;
            return false;
        }
        --left_;
        if (left_ % bit_cycles_) return false;
        const uint32_t bits_left = left_ / bit_cycles_;  // 9 in the middle of the start bit, 0 in that of the stop bit
        if (bits_left == 9 && top_->tx) left_ = 0;
        if (bits_left >= 1 && bits_left <= 8) byte_ = static_cast<uint8_t>(byte_ >> 1 | top_->tx << 7);
        return bits_left == 0 && top_->tx;
    }

    const uint32_t bit_cycles_;
    uint32_t left_ = 0;  // cycles to the middle of the stop bit
    uint8_t byte_ = 0;
};

}  // namespace

extern "C" {
Simulation* respin_open(uint32_t bit_cycles, int argc, const char** argv) {
    return new Simulation(bit_cycles, argc, argv);
}
void respin_close(Simulation* simulation) { delete simulation; }
void respin_reset(Simulation* simulation, uint64_t cycles) { simulation->reset(cycles); }
uint64_t respin_play(Simulation* simulation, const uint8_t* levels, uint64_t count, uint8_t* bytes, uint64_t room) {
    return simulation->play(levels, count, bytes, room);
}
uint64_t respin_cycles(const Simulation* simulation) { return simulation->cycles(); }
}
