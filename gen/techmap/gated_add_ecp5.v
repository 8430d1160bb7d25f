// SPDX-License-Identifier: Apache-2.0
// One LUT4 a bit. A CCU2C generates its carry from A and B alone, with the LUT's C = D = 0, so both operands must be 0
// when unselected: the chain adds them as two's complement, sign bits ~a[7] & x, and the two offsets of 128 then
// amount to an inverted ninth bit.
module gated_add(a, x, b, y, s);
  input [7:0] a, b;
  input x, y;
  output [8:0] s;
  localparam BIT = 16'h7888;   // (A & B) ^ (C & D)
  localparam SIGN = 16'h4B44;  // (~A & B) ^ (~C & D)
  wire [9:0] la = {a[7], a[7], a};
  wire [9:0] lb = {b[7], b[7], b};
  wire [9:0] sum;
  wire [10:0] carry;
  genvar i;
  generate
    for (i = 0; i < 10; i = i + 2) begin : chain
      CCU2C #(.INIT0(i == 8 ? ~SIGN : BIT), .INIT1(i >= 6 ? SIGN : BIT), .INJECT1_0("NO"), .INJECT1_1("NO")) ccu2c (
          .CIN(carry[i]), .A0(la[i]), .B0(x), .C0(lb[i]), .D0(y), .A1(la[i+1]), .B1(x), .C1(lb[i+1]), .D1(y),
          .S0(sum[i]), .S1(sum[i+1]), .COUT(carry[i+2]));
    end
  endgenerate
  assign carry[0] = 1'b0;
  assign s = sum[8:0];
endmodule
