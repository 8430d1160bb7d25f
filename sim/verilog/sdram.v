// SPDX-License-Identifier: Apache-2.0
//
// An SDRAM of 16 bits, single data rate, 4 banks, bursts of one word: a behavioural model that also holds its controller to
// the times of a data sheet (MT48LC16M16A2-7E: Micron 09005aef8091e6d1). Not for synthesis.
//
// `violations` counts what the chip would not forgive; the last one is said in words.
`timescale 1ns / 1ps

// verilator lint_off BLKSEQ

module sdram #(
    parameter ROW_BITS = 13,
    parameter COLUMN_BITS = 9
) (
    input  wire        clk,
    input  wire        cke,
    input  wire        cs_n,
    input  wire        ras_n,
    input  wire        cas_n,
    input  wire        we_n,
    input  wire [1:0]  ba,
    input  wire [12:0] a,
    input  wire [1:0]  dm,
    inout  wire [15:0] dq,
    output reg  [31:0] violations,
    output reg  [31:0] refreshes
);
    // Nanoseconds.
    localparam T_START = 100000, T_RCD = 15, T_RP = 15, T_RAS = 37, T_RC = 60, T_RFC = 66, T_WR = 15;
    localparam T_REFRESH = 64000000 / 8192 * 9; // eight may be put off

    reg [15:0] words [0:(4 << (ROW_BITS + COLUMN_BITS)) - 1];
    reg        open [0:3];
    reg [12:0] row [0:3];
    realtime   activated [0:3], precharged [0:3], written [0:3], refreshed;
    reg [2:0]  latency;
    reg        refreshing;
    integer    bank, precharges;

    // The word that is read: on its way through the chip, then on the pins.
    reg [15:0] pipe [0:3];
    reg [3:0]  reading;
    reg [15:0] out;
    reg        drive;
    assign dq = drive ? out : 16'hzzzz;

    wire [2:0] command = cs_n ? 3'b111 : {ras_n, cas_n, we_n};
    wire [ROW_BITS+COLUMN_BITS+1:0] at = {ba, row[ba][ROW_BITS-1:0], a[COLUMN_BITS-1:0]};

    task expect_that(input good, input [8*48-1:0] what);
        if (!good) begin
            violations = violations + 1;
            $display("sdram: %0s at %0t", what, $realtime);
        end
    endtask

    task close(input [1:0] which);
        begin
            if (open[which]) begin
                expect_that($realtime - activated[which] >= T_RAS, "precharge before tRAS");
                expect_that($realtime - written[which] >= T_WR, "precharge before tWR");
                precharged[which] = $realtime;
            end
            open[which] = 0;
        end
    endtask

    initial begin
        violations = 0;
        refreshes = 0;
        refreshing = 0;
        reading = 0;
        drive = 0;
        refreshed = 0;
        latency = 0;
        precharges = 0;
        for (bank = 0; bank < 4; bank = bank + 1) begin
            open[bank] = 0;
            activated[bank] = 0;
            precharged[bank] = 0;
            written[bank] = 0;
        end
    end

    always @(posedge clk) begin
        drive <= reading[0];
        out <= pipe[0];
        reading = reading >> 1;
        for (bank = 0; bank < 3; bank = bank + 1) pipe[bank] = pipe[bank + 1];
        if (cke && command != 3'b111) begin
            expect_that($realtime >= T_START, "command before 100 us");
            expect_that($realtime - refreshed >= T_RFC || refreshes == 0, "command before tRFC");
            if (command == 3'b011 || command == 3'b101 || command == 3'b100)
                expect_that(latency == 2 || latency == 3, "access before the mode is set");
            if (refreshing) expect_that($realtime - refreshed <= T_REFRESH, "refresh overdue");
        end
        if (cke) case (command)
            3'b011: begin
                expect_that(!open[ba], "activate of an open bank");
                expect_that($realtime - precharged[ba] >= T_RP, "activate before tRP");
                expect_that($realtime - activated[ba] >= T_RC || activated[ba] == 0, "activate before tRC");
                expect_that(refreshes >= 2, "activate before two refreshes");
                open[ba] = 1;
                row[ba] = a;
                activated[ba] = $realtime;
            end
            3'b101: begin
                expect_that(open[ba], "read of a closed bank");
                expect_that($realtime - activated[ba] >= T_RCD, "read before tRCD");
                expect_that(!a[10], "auto precharge is not in the model");
                pipe[latency - 2] = words[at];
                reading[latency - 2] = 1;
            end
            3'b100: begin
                expect_that(open[ba], "write to a closed bank");
                expect_that($realtime - activated[ba] >= T_RCD, "write before tRCD");
                expect_that(!a[10], "auto precharge is not in the model");
                expect_that(^dq !== 1'bx || dm != 0, "write of unknown data");
                if (!dm[0]) words[at][7:0] = dq[7:0];
                if (!dm[1]) words[at][15:8] = dq[15:8];
                written[ba] = $realtime;
            end
            3'b010: begin
                if (a[10]) for (bank = 0; bank < 4; bank = bank + 1) close(bank[1:0]);
                else close(ba);
                precharges = precharges + 1;
            end
            3'b001: begin
                for (bank = 0; bank < 4; bank = bank + 1) begin
                    expect_that(!open[bank], "refresh with an open bank");
                    expect_that($realtime - precharged[bank] >= T_RP, "refresh before tRP");
                end
                expect_that(precharges != 0, "refresh before the first precharge");
                refreshes = refreshes + 1;
                refreshing = latency != 0;
                refreshed = $realtime;
            end
            3'b000: begin
                expect_that(a[2:0] == 0, "longer bursts are not in the model");
                latency = a[6:4];
            end
            default: ;
        endcase
    end
endmodule
