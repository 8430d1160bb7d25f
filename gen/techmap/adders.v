// SPDX-License-Identifier: Apache-2.0
// Keeps every two-operand adder an adder with a carry chain. Left to itself `alumacc` merges the levels of an adder
// tree into one multi-operand sum built of LUT compressors, three times as large on ECP5.
(* techmap_celltype = "$add" *)
module keep_adder(A, B, Y);
  parameter A_SIGNED = 0;
  parameter B_SIGNED = 0;
  parameter A_WIDTH = 1;
  parameter B_WIDTH = 1;
  parameter Y_WIDTH = 1;
  input [A_WIDTH-1:0] A;
  input [B_WIDTH-1:0] B;
  output [Y_WIDTH-1:0] Y;
  wire [Y_WIDTH-1:0] X, CO;
  \$alu #(.A_SIGNED(A_SIGNED), .B_SIGNED(B_SIGNED), .A_WIDTH(A_WIDTH), .B_WIDTH(B_WIDTH), .Y_WIDTH(Y_WIDTH)) alu (
      .A(A), .B(B), .CI(1'b0), .BI(1'b0), .X(X), .Y(Y), .CO(CO));
endmodule
