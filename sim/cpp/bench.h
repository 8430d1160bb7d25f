// SPDX-License-Identifier: Apache-2.0
//
// A compiled bench (sim/compiled.py) and its clock.

#pragma once

#include <cstdint>
#include <memory>

#include "Vcompiled.h"
#include "verilated.h"

#ifdef RESPIN_COUNTING
// A library that counts which branches are taken writes its counts when it is told to, and not only when it is unloaded.
extern "C" void __gcov_dump();
extern "C" __attribute__((used, visibility("default"))) inline void respin_write_counts() { __gcov_dump(); }
#endif

class Bench {
public:
    Bench(int argc, const char** argv) {
        context_.commandArgs(argc, argv);
        top_ = std::make_unique<Vcompiled>(&context_, "TOP");
        top_->clk = 0;
    }
    ~Bench() { top_->final(); }

    void reset(uint64_t cycles) {
        top_->rst = 1;
        apply();
        step(cycles);
        top_->rst = 0;
        apply();
        step(cycles);
    }

    void step(uint64_t cycles) {
        for (; cycles; --cycles) edge();
    }

    uint64_t cycles() const { return cycles_; }

protected:
    // Lets the inputs that were set act.
    void apply() { top_->eval(); }

    void edge() {
        top_->clk = 1;
        top_->eval();
        top_->clk = 0;
        top_->eval();
        ++cycles_;
    }

    VerilatedContext context_;
    std::unique_ptr<Vcompiled> top_;

private:
    uint64_t cycles_ = 0;
};
