// SPDX-License-Identifier: Apache-2.0
//
// External memory behind an AXI4 port: a behavioural model for Icarus Verilog and Verilator. Not for synthesis.
//
// Bursts of type INCR and of whole beats are answered in order, reads after LATENCY cycles. Addresses past the last word
// answer DECERR. In each cycle each channel waits with a probability of `stall` / 256; what was offered stays offered.
// `gone` makes it deaf and mute: nothing is answered or taken any more while it is high.
//
// The backdoor is for benches: a word of 32 bytes is written at the clock edge with `memory_write`, and read at once.
`timescale 1ns / 1ps

// Addresses, lengths and counts are compared and added in whatever width they come in.
// verilator lint_off WIDTHEXPAND
// verilator lint_off WIDTHTRUNC
// verilator lint_off UNUSEDSIGNAL

module axi_memory #(
    parameter DATA_BITS = 32,
    parameter ID_BITS = 1,
    parameter WORDS = 16384,
    parameter LATENCY = 8
) (
    input  wire                   clk,
    input  wire                   rst,
    input  wire [ID_BITS-1:0]     awid,
    input  wire [31:0]            awaddr,
    input  wire                   awvalid,
    output wire                   awready,
    input  wire [DATA_BITS-1:0]   wdata,
    input  wire [DATA_BITS/8-1:0] wstrb,
    input  wire                   wlast,
    input  wire                   wvalid,
    output wire                   wready,
    output reg  [ID_BITS-1:0]     bid,
    output reg  [1:0]             bresp,
    output reg                    bvalid,
    input  wire                   bready,
    input  wire [ID_BITS-1:0]     arid,
    input  wire [31:0]            araddr,
    input  wire [7:0]             arlen,
    input  wire                   arvalid,
    output wire                   arready,
    output reg  [ID_BITS-1:0]     rid,
    output reg  [DATA_BITS-1:0]   rdata,
    output reg  [1:0]             rresp,
    output reg                    rlast,
    output reg                    rvalid,
    input  wire                   rready,
    // Backdoor.
    input  wire                   memory_write,
    input  wire [31:0]            memory_word,
    input  wire [255:0]           memory_wdata,
    output wire [255:0]           memory_rdata,
    input  wire [7:0]             stall,
    input  wire                   gone
);
    localparam BYTES = DATA_BITS / 8, QUEUE = 4;

    reg [255:0] words [0:WORDS-1];

    // A number for each channel's wait.
    reg [31:0] noise;
    wire [31:0] tossed = {noise[30:0], noise[31] ^ noise[21] ^ noise[1] ^ noise[0]};
    wire ar_waits = gone | (noise[7:0] < stall), r_waits = gone | (noise[12:5] < stall);
    wire aw_waits = gone | (noise[17:10] < stall), w_waits = gone | (noise[22:15] < stall);
    wire b_waits = gone | (noise[27:20] < stall);

    // Bursts to be read, the oldest first; `due` counts down to when its first beat may come.
    reg [31:0] q_address [0:QUEUE-1];
    reg [8:0] q_left [0:QUEUE-1];
    reg [ID_BITS-1:0] q_id [0:QUEUE-1];
    reg [15:0] q_due [0:QUEUE-1];
    reg [2:0] held;

    reg writing, answering, outside;
    reg [31:0] w_address;
    reg [ID_BITS-1:0] w_id;

    assign arready = (held != QUEUE) & ~ar_waits;
    assign awready = ~writing & ~answering & ~aw_waits;
    assign wready = writing & ~w_waits;
    assign memory_rdata = words[memory_word];

    integer at;
    wire [31:0] front = q_address[0];
    wire [255:0] front_word = words[front[31:5]];

    always @(posedge clk) begin
        noise <= tossed;
        // Reads.
        if (rready) rvalid <= 1'b0;
        for (at = 0; at < QUEUE; at = at + 1) if (q_due[at] != 0) q_due[at] <= q_due[at] - 1;
        if ((~rvalid | rready) & (held != 0) & (q_due[0] == 0) & ~r_waits) begin
            rvalid <= 1'b1;
            rid <= q_id[0];
            rlast <= q_left[0] == 1;
            rresp <= front[31:5] < WORDS ? 2'd0 : 2'd3;
            rdata <= front[31:5] < WORDS ? front_word[8 * (front[4:0] & ~(BYTES - 1)) +: DATA_BITS] : {DATA_BITS{1'b0}};
            q_address[0] <= front + BYTES;
            q_left[0] <= q_left[0] - 1;
            if (q_left[0] == 1) begin
                for (at = 0; at < QUEUE - 1; at = at + 1) begin
                    q_address[at] <= q_address[at + 1];
                    q_left[at] <= q_left[at + 1];
                    q_id[at] <= q_id[at + 1];
                    q_due[at] <= q_due[at + 1] == 0 ? 0 : q_due[at + 1] - 1;
                end
                held <= held - 1;
                if (arvalid & arready) begin
                    q_address[held - 1] <= araddr;
                    q_left[held - 1] <= arlen + 1;
                    q_id[held - 1] <= arid;
                    q_due[held - 1] <= LATENCY;
                    held <= held;
                end
            end
        end
        if (arvalid & arready & ~((~rvalid | rready) & (held != 0) & (q_due[0] == 0) & ~r_waits & (q_left[0] == 1))) begin
            q_address[held] <= araddr;
            q_left[held] <= arlen + 1;
            q_id[held] <= arid;
            q_due[held] <= LATENCY;
            held <= held + 1;
        end
        // Writes.
        if (awvalid & awready) begin
            writing <= 1'b1;
            outside <= 1'b0;
            w_address <= awaddr;
            w_id <= awid;
        end
        if (wvalid & wready) begin
            for (at = 0; at < BYTES; at = at + 1)
                if (wstrb[at] & (w_address[31:5] < WORDS))
                    words[w_address[31:5]][8 * ((w_address[4:0] & ~(BYTES - 1)) + at) +: 8] <= wdata[8 * at +: 8];
            outside <= outside | (w_address[31:5] >= WORDS);
            w_address <= w_address + BYTES;
            if (wlast) begin
                writing <= 1'b0;
                answering <= 1'b1;
            end
        end
        if (bvalid & bready) bvalid <= 1'b0;
        if (answering & (~bvalid | bready) & ~b_waits) begin
            answering <= 1'b0;
            bvalid <= 1'b1;
            bid <= w_id;
            bresp <= outside ? 2'd3 : 2'd0;
        end
        if (memory_write) words[memory_word] <= memory_wdata;
        if (rst) begin
            noise <= 32'h2545F491;
            held <= 0;
            writing <= 1'b0;
            answering <= 1'b0;
            rvalid <= 1'b0;
            bvalid <= 1'b0;
        end
    end
endmodule
