// SPDX-License-Identifier: Apache-2.0
//
// One SAS-MRAM bank: a behavioural model of the macro behind the bank pins, for Icarus Verilog and Verilator. Not for
// synthesis. Its twin is sim/array.py; with the same table both do the same, bit for bit. docs/device.md has the rules.
//
// Plusargs, read at start and again with the backdoor operations; BANK is appended to a PREFIX, and ".hex" to that:
//   +mram_table=FILE      words of sim/tables.py; without it a plain memory
//   +mram_cells=PREFIX    cells to begin with, one row of 288 bits a line; without it all 0
//   +mram_defects=PREFIX  defect map, rows of {low, high, value, stuck}; without it no defects
//   +mram_dump=PREFIX     where the cells go with DUMP
//
// The backdoor is for benches: it takes no time, needs no clock of the command, and is no part of the macro.
`timescale 1ns / 1ps

// The model is a program run at each clock edge: its memories and counters change at once, its pins at the edge's end.
// verilator lint_off BLKSEQ

module sas_mram_bank #(
    parameter ROWS = 16,
    parameter ROW_BITS = 4,
    parameter BANK = 0
) (
    input  wire                clk,
    input  wire                rst,
    // Macro pins.
    input  wire [2:0]          cmd,
    input  wire [ROW_BITS-1:0] row,
    input  wire [71:0]         strip_mask,
    input  wire [287:0]        wdata,
    input  wire [3:0]          pulse,
    input  wire                test_mode,
    output wire                busy,
    output reg  [287:0]        rdata,
    output reg                 rvalid,
    output reg                 power_good,
    // A command that the contract forbids was seen and ignored; stays high until reset.
    output reg                 protocol_error,
    // Backdoor.
    input  wire [2:0]          backdoor_op,
    input  wire [ROW_BITS-1:0] backdoor_row,
    input  wire [287:0]        backdoor_wdata,
    output wire [287:0]        backdoor_rdata,
    output wire [319:0]        statistics
);
    localparam READ = 3'd1, WRITE_SAS = 3'd2, SOT_ONLY = 3'd3, STT_ONLY = 3'd4;
    localparam POKE = 3'd1, LOAD = 3'd2, DUMP = 3'd3, RELOAD = 3'd4, AGE = 3'd5, CLEAR = 3'd6, CUT = 3'd7;

    // Addresses in the table.
    localparam T_SEED = 0, T_ERASES = 1, T_READ_CYCLES = 2, T_STRIP_LIMIT = 3, T_STATIC = 4, T_RETENTION = 8;
    localparam T_READ_ERROR = 32, T_WRITE_CYCLES = 64, T_DISTURB = 112, T_ERASE_ERROR = 160;
    localparam T_WORDS = 16384; // the upper half are write errors: {1, class of critical current, pulse, pattern, ...}

    // Kinds of draws.
    localparam K_READ = 0, K_DISTURB = 1, K_WRITE = 2, K_SCRAMBLE = 3, K_ERASE = 4, K_RETENTION = 5, K_CUT = 6;
    localparam K_STABILITY = 7, K_CURRENT = 8;

    localparam [31:0] STEP = 32'h9E3779B9, TWIST = 32'h85EBCA6B;

    reg [31:0]   tbl     [0:T_WORDS-1];
    reg [287:0]  cells   [0:ROWS-1];
    reg [1151:0] defects [0:ROWS-1];

    // The generator -------------------------------------------------------------------------------------------------

    reg [31:0] key;      // of this bank and seed
    reg [31:0] commands; // taken since the table was loaded
    reg [31:0] draw_a, draw_b;

    function [31:0] mix(input [31:0] value);
        reg [31:0] x;
        begin
            x = (value ^ (value >> 16)) * 32'h21F0AAAD;
            x = (x ^ (x >> 15)) * 32'hD35A2D97;
            mix = x ^ (x >> 15);
        end
    endfunction

    task begin_draws(input [31:0] command, input [31:0] on_row);
        begin
            draw_a = mix(mix(key + command * STEP) + on_row * STEP);
            draw_b = mix(draw_a + TWIST);
        end
    endtask

    function [31:0] draw(input integer kind, input integer column);
        draw = mix(draw_a + (kind * 512 + column) * STEP) ^ draw_b;
    endfunction

    // What an MTJ was made with: its static class, of stability or of critical current. Command 2^32 - 1 draws it.
    function [1:0] made(input integer kind, input [31:0] on_row, input integer column);
        reg [31:0] a, x;
        begin
            a = mix(mix(key - STEP) + on_row * STEP);
            x = mix(a + (kind * 512 + column) * STEP) ^ mix(a + TWIST);
            made = {1'b0, x < tbl[T_STATIC]} + {1'b0, x < tbl[T_STATIC + 1]} + {1'b0, x < tbl[T_STATIC + 2]};
        end
    endfunction

    // Largest thresholds, so that most columns are settled by one comparison, or by none where all are 0.
    reg [31:0] most_read_error, most_disturb, most_erase_error, most_lost;

    // Files ---------------------------------------------------------------------------------------------------------

    reg [8*1024-1:0] prefix, file;
    integer i;

    task load_table;
        begin
            for (i = 0; i < T_WORDS; i = i + 1) tbl[i] = 0;
            tbl[T_READ_CYCLES] = 1;
            tbl[T_STRIP_LIMIT] = 72;
            for (i = 0; i < 48; i = i + 1) tbl[T_WRITE_CYCLES + i] = 1;
            if ($value$plusargs("mram_table=%s", file)) $readmemh(file, tbl);
            key = mix(mix(tbl[T_SEED]) + (BANK + 1) * STEP);
            commands = 0;
            erased = 0;
            most_read_error = 0;
            for (i = 0; i < 24; i = i + 1)
                if (tbl[T_READ_ERROR + i] > most_read_error) most_read_error = tbl[T_READ_ERROR + i];
            most_disturb = 0;
            for (i = 0; i < 32; i = i + 1)
                if (tbl[T_DISTURB + i] > most_disturb) most_disturb = tbl[T_DISTURB + i];
            most_erase_error = 0;
            for (i = 0; i < 64; i = i + 1)
                if (tbl[T_ERASE_ERROR + i] > most_erase_error) most_erase_error = tbl[T_ERASE_ERROR + i];
            most_lost = 0;
            for (i = 0; i < 4; i = i + 1)
                if (tbl[T_RETENTION + i] > most_lost) most_lost = tbl[T_RETENTION + i];
        end
    endtask

    task load_defects;
        begin
            for (i = 0; i < ROWS; i = i + 1) defects[i] = 0;
            if ($value$plusargs("mram_defects=%s", prefix)) begin
                $sformat(file, "%0s%0d.hex", prefix, BANK);
                $readmemh(file, defects);
            end
        end
    endtask

    task load_cells;
        begin
            for (i = 0; i < ROWS; i = i + 1) cells[i] = 0;
            if ($value$plusargs("mram_cells=%s", prefix)) begin
                $sformat(file, "%0s%0d.hex", prefix, BANK);
                $readmemh(file, cells);
            end
        end
    endtask

    task dump_cells;
        if ($value$plusargs("mram_dump=%s", prefix)) begin
            $sformat(file, "%0s%0d.hex", prefix, BANK);
            $writememh(file, cells);
        end
    endtask

    // Cells ---------------------------------------------------------------------------------------------------------

    function [287:0] visible(input [287:0] stored, input [287:0] stuck, input [287:0] value);
        visible = (stored & ~stuck) | (value & stuck);
    endfunction

    wire [1151:0] backdoor_defect = defects[backdoor_row];
    assign backdoor_rdata = visible(cells[backdoor_row], backdoor_defect[287:0], backdoor_defect[575:288]);

    function [6:0] count_strips(input [71:0] mask);
        integer n;
        begin
            count_strips = 0;
            for (n = 0; n < 72; n = n + 1) count_strips = count_strips + {6'd0, mask[n]};
        end
    endfunction

    // Commands work on these: the row's visible cells, what drives them, and what comes of it.
    reg [287:0]  state, target, driven;
    reg [1151:0] defect;
    integer      column, strip;
    reg [31:0]   chance;
    reg [10:0]   index;
    reg [3:0]    pattern;

    // Strips of the row that the last SOT_ONLY erased and no STT_ONLY has programmed yet (geometry y).
    reg [71:0]         erased;
    reg [ROW_BITS-1:0] erased_row;

    // The last command: its number, its row and the strips that it pulses.
    reg [31:0]         taken;
    reg [ROW_BITS-1:0] at;
    reg [31:0]         at_row;
    reg [71:0]         pulsed;

    task begin_command;
        begin
            taken = commands;
            at = row;
            pulsed = cmd == READ ? 72'd0 : strip_mask;
            commands = commands + 1;
            n_commands = n_commands + 1;
            look_up;
        end
    endtask

    // The draws of the last command, and its row as it is now.
    task look_up;
        begin
            at_row = {{(32-ROW_BITS){1'b0}}, at};
            begin_draws(taken, at_row);
            defect = defects[at];
            state = visible(cells[at], defect[287:0], defect[575:288]);
        end
    endtask

    // A READ: `target` is what the sense amplifiers say; afterwards disturbed cells have flipped.
    task read_row;
        begin
            n_reads = n_reads + 1;
            target = state;
            if (most_read_error != 0)
                for (column = 0; column < 288; column = column + 1) begin
                    chance = draw(K_READ, column);
                    if (chance < most_read_error) begin
                        index = {6'd0, defect[864 + column], defect[576 + column], column[1:0], state[column]};
                        if (chance < tbl[T_READ_ERROR + index]) begin
                            target[column] = ~state[column];
                            n_read_errors = n_read_errors + 1;
                        end
                    end
                end
            if (most_disturb != 0) begin
                driven = cells[at];
                for (column = 0; column < 288; column = column + 1) begin
                    chance = draw(K_DISTURB, column);
                    if (chance < most_disturb) begin
                        index = {6'd0, made(K_STABILITY, at_row, column), made(K_CURRENT, at_row, column),
                                 state[column]};
                        if (chance < tbl[T_DISTURB + index]) begin
                            driven[column] = ~driven[column];
                            n_disturbed = n_disturbed + 1;
                        end
                    end
                end
                cells[at] = driven;
            end
        end
    endtask

    // Make a target for `driven` cells: the data, wrong where a write error happens.
    task program_cells;
        begin
            target = wdata;
            for (strip = 0; strip < 72; strip = strip + 1)
                if (driven[4*strip +: 4] != 0) begin
                    pattern = wdata[4*strip +: 4];
                    for (column = 4 * strip; column < 4 * strip + 4; column = column + 1) begin
                        index = {pulse, pattern, column[1:0], state[column]};
                        // No threshold of a class is above their union's bits.
                        chance = tbl[{3'b100, index}] | tbl[{3'b101, index}] | tbl[{3'b110, index}] | tbl[{3'b111, index}];
                        if (driven[column] && chance != 0 && draw(K_WRITE, column) < chance)
                            if (draw(K_WRITE, column) < tbl[{1'b1, made(K_CURRENT, at_row, column), index}]) begin
                                target[column] = ~wdata[column];
                                n_write_errors = n_write_errors + 1;
                            end
                    end
                end
        end
    endtask

    // SOT alone on geometry y: 0, or 1 where the erase fails.
    task erase_cells;
        begin
            target = 0;
            if (most_erase_error != 0)
                for (column = 0; column < 288; column = column + 1)
                    if (driven[column]) begin
                        index = {5'd0, made(K_CURRENT, at_row, column), pulse};
                        if (draw(K_ERASE, column) < tbl[T_ERASE_ERROR + index]) begin
                            target[column] = 1'b1;
                            n_write_errors = n_write_errors + 1;
                        end
                    end
        end
    endtask

    // SOT alone on geometry x, or a pulse cut short: any state.
    task scramble_cells(input integer kind);
        begin
            n_scrambled = n_scrambled + {25'd0, count_strips(pulsed)};
            target = 0;
            for (column = 0; column < 288; column = column + 1)
                if (driven[column]) begin
                    chance = draw(kind, column);
                    target[column] = chance[31];
                end
        end
    endtask

    task store_cells;
        begin
            cells[at] = (cells[at] & ~driven) | (target & driven);
            target = state ^ visible(cells[at], defect[287:0], defect[575:288]);
            for (strip = 0; strip < 72; strip = strip + 1)
                if (target[4*strip +: 4] != 0)
                    for (column = 4 * strip; column < 4 * strip + 4; column = column + 1)
                        n_changed = n_changed + {31'd0, target[column]};
        end
    endtask

    task drive_pulsed;
        for (strip = 0; strip < 72; strip = strip + 1) driven[4*strip +: 4] = {4{pulsed[strip]}};
    endtask

    task write_row;
        begin
            n_strips = n_strips + strips;
            drive_pulsed;
            if (cmd == STT_ONLY) begin
                for (strip = 0; strip < 72; strip = strip + 1)
                    if (!erased[strip] || erased_row != at) driven[4*strip +: 4] = 4'd0;
                driven = driven & wdata;
                erased = 0;
                program_cells;
            end else if (tbl[T_ERASES] != 0) begin
                if (cmd == SOT_ONLY) begin
                    erased = pulsed;
                    erased_row = at;
                end
                erase_cells;
            end else if (cmd == SOT_ONLY) scramble_cells(K_SCRAMBLE);
            else program_cells;
            store_cells;
        end
    endtask

    // Without power: what was being pulsed ends in any state, and only cells and the generator's counter remain.
    task cut_power;
        begin
            if (busy && pulsed != 0) begin
                look_up;
                drive_pulsed;
                scramble_cells(K_CUT);
                store_cells;
            end
            erased = 0;
        end
    endtask

    task age_cells;
        begin
            if (most_lost != 0)
                for (i = 0; i < ROWS; i = i + 1) begin
                    begin_draws(commands, i);
                    driven = cells[i];
                    for (column = 0; column < 288; column = column + 1) begin
                        chance = draw(K_RETENTION, column);
                        if (chance < most_lost)
                            if (chance < tbl[T_RETENTION + {2'b0, made(K_STABILITY, i, column)}]) begin
                                driven[column] = ~driven[column];
                                n_lost = n_lost + 1;
                            end
                    end
                    cells[i] = driven;
                end
            commands = commands + 1;
            n_commands = n_commands + 1;
        end
    endtask

    // Statistics ----------------------------------------------------------------------------------------------------

    reg [31:0] n_commands, n_reads, n_strips, n_changed, n_write_errors, n_read_errors, n_disturbed, n_lost;
    reg [31:0] n_scrambled, n_protocol_errors;
    assign statistics = {n_protocol_errors, n_scrambled, n_lost, n_disturbed, n_read_errors, n_write_errors, n_changed,
                         n_strips, n_reads, n_commands};

    task clear_statistics;
        begin
            n_commands = 0;
            n_reads = 0;
            n_strips = 0;
            n_changed = 0;
            n_write_errors = 0;
            n_read_errors = 0;
            n_disturbed = 0;
            n_lost = 0;
            n_scrambled = 0;
            n_protocol_errors = 0;
        end
    endtask

    // Pins ----------------------------------------------------------------------------------------------------------

    reg [31:0]  remaining; // busy cycles still to come
    reg         reading;
    reg [287:0] sensed;
    reg [31:0]  strips;
    wire        writes = cmd == WRITE_SAS || cmd == SOT_ONLY || cmd == STT_ONLY;
    wire        row_exists = {{(32-ROW_BITS){1'b0}}, row} < ROWS;
    assign busy = remaining != 0;

    // The test mode is the built-in test's; it changes nothing in the cells. The upper halves are the weak classes'.
    wire unused = &{1'b0, test_mode, backdoor_defect[1151:576]};

    initial begin
        clear_statistics;
        load_table;
        load_defects;
        load_cells;
        erased_row = 0;
        taken = 0;
        at = 0;
        at_row = 0;
        pulsed = 0;
        remaining = 0;
        reading = 0;
        rvalid = 0;
        rdata = 0;
        sensed = 0;
        power_good = 0;
        protocol_error = 0;
    end

    always @(posedge clk) begin
        case (backdoor_op)
            POKE: cells[backdoor_row] = backdoor_wdata;
            LOAD: begin
                load_defects;
                load_cells;
            end
            DUMP: dump_cells;
            RELOAD: load_table;
            AGE: age_cells;
            CLEAR: clear_statistics;
            CUT: cut_power;
            default: ;
        endcase
        if (rst || backdoor_op == CUT) begin
            remaining <= 0;
            reading <= 0;
            rvalid <= 0;
            power_good <= 0;
            protocol_error <= 0;
        end else begin
            power_good <= 1;
            rvalid <= 0;
            if (busy) begin
                remaining <= remaining - 1;
                if (reading && remaining == 2) begin
                    rvalid <= 1;
                    rdata <= sensed;
                end
            end
            if (cmd != 0) begin
                strips = {25'd0, count_strips(strip_mask)};
                if (busy || !power_good || !row_exists
                    || !(cmd == READ || (writes && strips <= tbl[T_STRIP_LIMIT]))) begin
                    protocol_error <= 1;
                    n_protocol_errors = n_protocol_errors + 1;
                end else begin
                    begin_command;
                    reading <= cmd == READ;
                    // All ones is a word that no decoder takes for data: who reads late gets caught.
                    rdata <= {288{1'b1}};
                    if (cmd == READ) begin
                        read_row;
                        sensed <= target;
                        remaining <= tbl[T_READ_CYCLES];
                        if (tbl[T_READ_CYCLES] == 1) begin
                            rvalid <= 1;
                            rdata <= target;
                        end
                    end else begin
                        write_row;
                        remaining <= tbl[T_WRITE_CYCLES + {26'd0, cmd[1:0] - 2'd2, pulse}];
                    end
                end
            end
        end
    end
endmodule
