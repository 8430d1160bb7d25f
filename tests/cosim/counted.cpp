// SPDX-License-Identifier: Apache-2.0
//
// Drives the counter of test_compiled.py: how far it is after some cycles.

#include "bench.h"

namespace {

struct Counter : Bench {
    Counter(int argc, const char** argv) : Bench(argc, argv) { reset(1); }
    uint32_t after(uint64_t cycles) {
        step(cycles);
        return top_->count;
    }
};

}  // namespace

extern "C" uint32_t respin_count(uint64_t cycles) {
    const char* name = "counter";
    return Counter(1, &name).after(cycles);
}
