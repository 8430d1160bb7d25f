// SPDX-License-Identifier: Apache-2.0
//
// Cells of the ECP5 that Yosys has no simulation models of. For simulation of mapped and routed netlists only.
//
// Block RAM and multiplier, as far as Yosys' memory and DSP mapping uses them (lattice/brams_map_16kd.v, dsp_map_18x18.v):
// one clock, no output registers, no pipeline. Lattice's FPGA-TN-02204 describes the memory. And what nextpnr packs tables,
// carry chains and small memories into (FPGA-DS-02012, slices): a half of a slice, TRELLIS_COMB, and what writes those of
// its neighbours that are memories, TRELLIS_RAMW. A PLL is a wire: its clock has the rate of the pin's.
`timescale 1ns / 1ps

module DP16KD (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2,
        DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2,
        DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0
);
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "AUTO";
    parameter [319:0] INITVAL_00 = 320'd0;
    parameter [319:0] INITVAL_01 = 320'd0;
    parameter [319:0] INITVAL_02 = 320'd0;
    parameter [319:0] INITVAL_03 = 320'd0;
    parameter [319:0] INITVAL_04 = 320'd0;
    parameter [319:0] INITVAL_05 = 320'd0;
    parameter [319:0] INITVAL_06 = 320'd0;
    parameter [319:0] INITVAL_07 = 320'd0;
    parameter [319:0] INITVAL_08 = 320'd0;
    parameter [319:0] INITVAL_09 = 320'd0;
    parameter [319:0] INITVAL_0A = 320'd0;
    parameter [319:0] INITVAL_0B = 320'd0;
    parameter [319:0] INITVAL_0C = 320'd0;
    parameter [319:0] INITVAL_0D = 320'd0;
    parameter [319:0] INITVAL_0E = 320'd0;
    parameter [319:0] INITVAL_0F = 320'd0;
    parameter [319:0] INITVAL_10 = 320'd0;
    parameter [319:0] INITVAL_11 = 320'd0;
    parameter [319:0] INITVAL_12 = 320'd0;
    parameter [319:0] INITVAL_13 = 320'd0;
    parameter [319:0] INITVAL_14 = 320'd0;
    parameter [319:0] INITVAL_15 = 320'd0;
    parameter [319:0] INITVAL_16 = 320'd0;
    parameter [319:0] INITVAL_17 = 320'd0;
    parameter [319:0] INITVAL_18 = 320'd0;
    parameter [319:0] INITVAL_19 = 320'd0;
    parameter [319:0] INITVAL_1A = 320'd0;
    parameter [319:0] INITVAL_1B = 320'd0;
    parameter [319:0] INITVAL_1C = 320'd0;
    parameter [319:0] INITVAL_1D = 320'd0;
    parameter [319:0] INITVAL_1E = 320'd0;
    parameter [319:0] INITVAL_1F = 320'd0;
    parameter [319:0] INITVAL_20 = 320'd0;
    parameter [319:0] INITVAL_21 = 320'd0;
    parameter [319:0] INITVAL_22 = 320'd0;
    parameter [319:0] INITVAL_23 = 320'd0;
    parameter [319:0] INITVAL_24 = 320'd0;
    parameter [319:0] INITVAL_25 = 320'd0;
    parameter [319:0] INITVAL_26 = 320'd0;
    parameter [319:0] INITVAL_27 = 320'd0;
    parameter [319:0] INITVAL_28 = 320'd0;
    parameter [319:0] INITVAL_29 = 320'd0;
    parameter [319:0] INITVAL_2A = 320'd0;
    parameter [319:0] INITVAL_2B = 320'd0;
    parameter [319:0] INITVAL_2C = 320'd0;
    parameter [319:0] INITVAL_2D = 320'd0;
    parameter [319:0] INITVAL_2E = 320'd0;
    parameter [319:0] INITVAL_2F = 320'd0;
    parameter [319:0] INITVAL_30 = 320'd0;
    parameter [319:0] INITVAL_31 = 320'd0;
    parameter [319:0] INITVAL_32 = 320'd0;
    parameter [319:0] INITVAL_33 = 320'd0;
    parameter [319:0] INITVAL_34 = 320'd0;
    parameter [319:0] INITVAL_35 = 320'd0;
    parameter [319:0] INITVAL_36 = 320'd0;
    parameter [319:0] INITVAL_37 = 320'd0;
    parameter [319:0] INITVAL_38 = 320'd0;
    parameter [319:0] INITVAL_39 = 320'd0;
    parameter [319:0] INITVAL_3A = 320'd0;
    parameter [319:0] INITVAL_3B = 320'd0;
    parameter [319:0] INITVAL_3C = 320'd0;
    parameter [319:0] INITVAL_3D = 320'd0;
    parameter [319:0] INITVAL_3E = 320'd0;
    parameter [319:0] INITVAL_3F = 320'd0;

    // 1024 words of two bytes of nine bits; a port of 36 bits reaches two of them.
    reg [17:0] words [0:1023];
    wire [20479:0] initial_words = {INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A,
        INITVAL_39, INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31,
        INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
        INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F,
        INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16,
        INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F, INITVAL_0E, INITVAL_0D,
        INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04,
        INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};
    integer at;
    initial for (at = 0; at < 1024; at = at + 1) words[at] = initial_words[20*at +: 18];

    wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0},
        address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [35:0] data_a = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
        DIB3, DIB2, DIB1, DIB0, DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
        DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [17:0] data_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
        DIB3, DIB2, DIB1, DIB0};
    reg [35:0] out_a, out_b;
    initial begin
        out_a = 36'd0;
        out_b = 36'd0;
    end

    // The bits of a word of 18 that a narrower port reaches begin here; the ninth bits are out of its reach below 9.
    function [4:0] low_bit(input integer width, input [3:0] place);
        low_bit = width == 18 ? 5'd0 : place[3] ? 5'd9 + {2'd0, width == 9 ? 3'd0 : place[2:0]}
                                               : {2'd0, width == 9 ? 3'd0 : place[2:0]};
    endfunction

    function [17:0] lanes(input integer width, input [3:0] place, input [1:0] bytes);
        lanes = width >= 18 ? {{9{bytes[1]}}, {9{bytes[0]}}} : ((18'd1 << width) - 18'd1) << low_bit(width, place);
    endfunction

    wire [17:0] mask_a = lanes(DATA_WIDTH_A, address_a[3:0], address_a[1:0]);
    wire [17:0] mask_b = lanes(DATA_WIDTH_B, address_b[3:0], address_b[1:0]);
    wire [17:0] shown_a = words[address_a[13:4]] >> low_bit(DATA_WIDTH_A, address_a[3:0]);
    wire [17:0] shown_b = words[address_b[13:4]] >> low_bit(DATA_WIDTH_B, address_b[3:0]);
    // Port B of a memory with a port of 36 bits on side A only reads; narrow reads show on the B pins.
    localparam PSEUDO = DATA_WIDTH_A == 36 || DATA_WIDTH_B == 36;

    always @(posedge CLKA) if (CEA) begin
        if (WEA) begin
            if (DATA_WIDTH_A == 36) begin
                words[{address_a[13:5], 1'b0}] <= (words[{address_a[13:5], 1'b0}] & ~lanes(18, 4'd0, address_a[1:0]))
                    | (data_a[17:0] & lanes(18, 4'd0, address_a[1:0]));
                words[{address_a[13:5], 1'b1}] <= (words[{address_a[13:5], 1'b1}] & ~lanes(18, 4'd0, address_a[3:2]))
                    | (data_a[35:18] & lanes(18, 4'd0, address_a[3:2]));
            end else
                words[address_a[13:4]] <= (words[address_a[13:4]] & ~mask_a)
                    | ((data_a[17:0] << low_bit(DATA_WIDTH_A, address_a[3:0])) & mask_a);
        end
        if (!WEA || WRITEMODE_A == "READBEFOREWRITE") out_a <= {18'd0, shown_a};
        else if (WRITEMODE_A == "WRITETHROUGH") out_a <= {18'd0, data_a[17:0]};
        if (RSTA) out_a <= 36'd0;
    end

    always @(posedge CLKB) if (CEB) begin
        if (WEB)
            words[address_b[13:4]] <= (words[address_b[13:4]] & ~mask_b)
                | ((data_b << low_bit(DATA_WIDTH_B, address_b[3:0])) & mask_b);
        if (!WEB || WRITEMODE_B == "READBEFOREWRITE")
            out_b <= DATA_WIDTH_B == 36 ? {words[{address_b[13:5], 1'b1}], words[{address_b[13:5], 1'b0}]}
                : {shown_b, shown_b};
        else if (WRITEMODE_B == "WRITETHROUGH") out_b <= {data_b, data_b};
        if (RSTB) out_b <= 36'd0;
    end

    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0} = PSEUDO ? out_b[17:0] : out_a[17:0];
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0} = out_b[35:18];
endmodule

module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    // Of registers that are not used and of the way from one multiplier to the next.
    input CLK3, CLK2, CLK1, CLK0, CE3, CE2, CE1, CE0, RST3, RST2, RST1, RST0, SRIA17, SRIA16, SRIA15, SRIA14,
        SRIA13, SRIA12, SRIA11, SRIA10, SRIA9, SRIA8, SRIA7, SRIA6, SRIA5, SRIA4, SRIA3, SRIA2, SRIA1, SRIA0,
        SRIB17, SRIB16, SRIB15, SRIB14, SRIB13, SRIB12, SRIB11, SRIB10, SRIB9, SRIB8, SRIB7, SRIB6, SRIB5, SRIB4,
        SRIB3, SRIB2, SRIB1, SRIB0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
        P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    wire signed [18:0] a = {SIGNEDA & A17, A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1,
        A0}, b = {SIGNEDB & B17, B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    wire signed [37:0] product = a * b;
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
        P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = product[35:0];
endmodule

module TRELLIS_COMB (
    input A, B, C, D, M, F1, FCI, FXA, FXB, WD, WAD0, WAD1, WAD2, WAD3, WRE, WCK,
    output F, FCO, OFX
);
    parameter MODE = "LOGIC", CCU2_INJECT1 = "NO", WREMUX = "WRE", WCKMUX = "WCK";
    parameter [15:0] INITVAL = 16'd0;
    parameter [0:0] SIXTH_INPUT = 1'b0;  // this half has the multiplexer behind those of the two slices before it

    wire table_out = INITVAL[{D, C, B, A}];
    generate
        if (MODE == "CCU2") begin : carry
            localparam INJECT = CCU2_INJECT1 == "YES";
            assign F = table_out ^ (INJECT ? 1'b0 : FCI);
            assign FCO = table_out ? FCI : INJECT ? 1'b0 : INITVAL[{2'b00, B, A}];
        end else if (MODE == "DPRAM") begin : memory
            // The address of the bit of INITVAL and that of the word have their bits in different orders.
            reg [15:0] words;
            integer at;
            initial for (at = 0; at < 16; at = at + 1) words[{at[0], at[2], at[1], at[3]}] = INITVAL[at];
            wire clock = WCKMUX == "INV" ? ~WCK : WCK;
            wire enable = WREMUX == "1" ? 1'b1 : WREMUX == "0" ? 1'b0 : WREMUX == "INV" ? ~WRE : WRE;
            always @(posedge clock) if (enable) words[{WAD3, WAD2, WAD1, WAD0}] <= WD;
            assign F = words[{A, C, B, D}];
            assign FCO = 1'b0;
        end else begin : logic_table
            assign F = table_out;
            assign FCO = 1'b0;
        end
    endgenerate
    assign OFX = SIXTH_INPUT ? (M ? FXB : FXA) : M ? F1 : F;
endmodule

module TRELLIS_RAMW (
    input A0, B0, C0, D0, A1, B1, C1, D1,
    output WADO0, WADO1, WADO2, WADO3, WDO0, WDO1, WDO2, WDO3
);
    assign {WADO3, WADO2, WADO1, WADO0} = {A0, C0, B0, D0};
    assign {WDO3, WDO2, WDO1, WDO0} = {B1, D1, A1, C1};
endmodule

module DCCA (
    input CLKI, CE,
    output CLKO
);
    assign CLKO = CLKI & CE;
endmodule

module EHXPLLL (
    input CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG, PLLWAKESYNC, ENCLKOP,
    output CLKOP, LOCK
);
    parameter CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 8, CLKOP_CPHASE = 0, CLKOP_FPHASE = 0;
    parameter CLKOP_ENABLE = "ENABLED", FEEDBK_PATH = "CLKOP", PLLRST_ENA = "DISABLED", INTFB_WAKE = "DISABLED";
    parameter STDBY_ENABLE = "DISABLED", DPHASE_SOURCE = "DISABLED";
    assign CLKOP = CLKI;
    assign LOCK = 1'b1;
endmodule
