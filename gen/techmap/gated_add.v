// SPDX-License-Identifier: Apache-2.0
// The first level of the dot slice, as Yosys sees it after `proc; flatten; opt_clean`: two lanes in offset binary, an
// unselected lane counting as the offset 128. `extract -map` finds it; gated_add_FAMILY.v replaces it.
module gated_add(a, x, b, y, s);
  input [7:0] a, b;
  input x, y;
  output [8:0] s;
  wire [7:0] la = x ? a : 8'h80;
  wire [7:0] lb = y ? b : 8'h80;
  assign s = la + lb;
endmodule
