// SPDX-License-Identifier: Apache-2.0
//
// Drives a compiled bench: the whole machine with its banks and external memory, from Python (sim/compiled.py).
//
// Every loop over cycles is here. Arrays of the models are handed out as they lie in memory, by scope and name.

#include <cstdint>
#include <vector>

#include "bench.h"
#include "verilated_syms.h"

namespace {

enum class Stop : int { Limit = 0, Interrupt = 1, Descriptor = 2 };
enum class Answer : int { Okay = 0, Refused = 1, None = 2 };

// The end of a descriptor; `ran` says whether it was a job that ran, and `job_cycles` for how long.
struct Ending {
    uint64_t cycle;
    uint64_t note;
    uint32_t index;
    uint32_t ran;
    uint32_t job_cycles;
};

class Simulation : public Bench {
public:
    Simulation(int argc, const char** argv) : Bench(argc, argv) { apply(); }

    // Power goes in this cycle, and comes back: of all memories inside the machine only the cells hold what they held.
    void cut(uint64_t cycles) {
        top_->backdoor_op = 7;
        apply();
        edge();
        top_->backdoor_op = 0;
        reset(cycles);
    }

    // Run until the interrupt line is high, for at most `limit` cycles, and with `watch` until a descriptor ends.
    Stop run(uint64_t limit, bool watch) {
        for (; limit; --limit) {
            if (top_->irq) return Stop::Interrupt;
            edge();
            if (!watch) continue;
            if (top_->reported) job_cycles_ = top_->job_cycles;
            ran_ |= top_->reported;
            if (top_->descriptor_done) {
                ending_ = {cycles(), top_->note, top_->descriptor, ran_, ran_ ? job_cycles_ : 0};
                ran_ = false;
                return Stop::Descriptor;
            }
        }
        return top_->irq ? Stop::Interrupt : Stop::Limit;
    }

    Answer write(uint32_t offset, uint32_t value, uint64_t limit) {
        top_->s_axi_awaddr = offset;
        top_->s_axi_wdata = value;
        top_->s_axi_wstrb = 0xF;
        top_->s_axi_awvalid = top_->s_axi_wvalid = top_->s_axi_bready = 1;
        for (; limit; --limit) {
            apply();
            const bool address = top_->s_axi_awvalid && top_->s_axi_awready;
            const bool data = top_->s_axi_wvalid && top_->s_axi_wready;
            const bool done = top_->s_axi_bvalid;
            const bool refused = top_->s_axi_bresp != 0;
            edge();
            if (address) top_->s_axi_awvalid = 0;
            if (data) top_->s_axi_wvalid = 0;
            if (done) {
                top_->s_axi_bready = 0;
                apply();
                return refused ? Answer::Refused : Answer::Okay;
            }
        }
        return Answer::None;
    }

    Answer read(uint32_t offset, uint32_t* value, uint64_t limit) {
        top_->s_axi_araddr = offset;
        top_->s_axi_arvalid = top_->s_axi_rready = 1;
        for (; limit; --limit) {
            apply();
            const bool address = top_->s_axi_arvalid && top_->s_axi_arready;
            const bool done = top_->s_axi_rvalid;
            const bool refused = top_->s_axi_rresp != 0;
            *value = top_->s_axi_rdata;
            edge();
            if (address) top_->s_axi_arvalid = 0;
            if (done) {
                top_->s_axi_rready = 0;
                apply();
                return refused ? Answer::Refused : Answer::Okay;
            }
        }
        return Answer::None;
    }

    void* array(const char* scope, const char* name, uint64_t* bytes) {
        const VerilatedScope* const found = context_.scopeFind(scope);
        VerilatedVar* const variable = found ? found->varFind(name) : nullptr;
        if (!variable) return nullptr;
        *bytes = variable->totalSize();
        return variable->datap();
    }

    void stall(uint8_t share) {
        top_->stall = share;
        apply();
    }
    Ending ending() const { return ending_; }

private:
    Ending ending_{};
    bool ran_ = false;
    uint32_t job_cycles_ = 0;
};

}  // namespace

extern "C" {
Simulation* respin_open(int argc, const char** argv) { return new Simulation(argc, argv); }
void respin_close(Simulation* simulation) { delete simulation; }
void respin_reset(Simulation* simulation, uint64_t cycles) { simulation->reset(cycles); }
void respin_cut(Simulation* simulation, uint64_t cycles) { simulation->cut(cycles); }
void respin_step(Simulation* simulation, uint64_t cycles) { simulation->step(cycles); }
int respin_run(Simulation* simulation, uint64_t limit, int watch) {
    return static_cast<int>(simulation->run(limit, watch != 0));
}
int respin_write(Simulation* simulation, uint32_t offset, uint32_t value, uint64_t limit) {
    return static_cast<int>(simulation->write(offset, value, limit));
}
int respin_read(Simulation* simulation, uint32_t offset, uint32_t* value, uint64_t limit) {
    return static_cast<int>(simulation->read(offset, value, limit));
}
void* respin_array(Simulation* simulation, const char* scope, const char* name, uint64_t* bytes) {
    return simulation->array(scope, name, bytes);
}
void respin_stall(Simulation* simulation, uint8_t share) { simulation->stall(share); }
uint64_t respin_cycles(const Simulation* simulation) { return simulation->cycles(); }
void respin_ending(const Simulation* simulation, Ending* ending) { *ending = simulation->ending(); }
}
