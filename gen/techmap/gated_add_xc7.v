// SPDX-License-Identifier: Apache-2.0
// One LUT6_2 a bit: O6 propagates (4 inputs), O5 is one gated operand. The ninth sum bit is the carry out, free.
module gated_add(a, x, b, y, s);
  input [7:0] a, b;
  input x, y;
  output [8:0] s;
  wire [7:0] propagate, operand, carry;
  genvar i;
  generate
    for (i = 0; i < 8; i = i + 1) begin : bits
      // I0..I3 = a, x, b, y. Bits 0..6: O5 = a & x, O6 = (a & x) ^ (b & y). Bit 7, where the offset lies:
      // O5 = a | ~x, O6 = (a | ~x) ^ (b | ~y).
      LUT6_2 #(.INIT(i == 7 ? 64'h4B44_4B44_BBBB_BBBB : 64'h7888_7888_8888_8888)) lut (
          .I0(a[i]), .I1(x), .I2(b[i]), .I3(y), .I4(1'b0), .I5(1'b1), .O6(propagate[i]), .O5(operand[i]));
    end
    for (i = 0; i < 8; i = i + 4) begin : chain
      if (i == 0)
        CARRY4 carry4 (.CYINIT(1'b0), .CI(1'b0), .DI(operand[3:0]), .S(propagate[3:0]), .O(s[3:0]), .CO(carry[3:0]));
      else
        CARRY4 carry4 (.CYINIT(1'b0), .CI(carry[3]), .DI(operand[7:4]), .S(propagate[7:4]), .O(s[7:4]), .CO(carry[7:4]));
    end
  endgenerate
  assign s[8] = carry[7];
endmodule
