# SPDX-License-Identifier: Apache-2.0
"""What is read out of Verilog and Verilator's counts, on texts written by hand."""

import pytest
import report
from points import Point, points
from report import Hole, tally

import respin.rtl

RTL = respin.rtl.__path__[0]
VERILOG = f"""module top(clk, go, out__valid);
  reg \\$auto$verilog_backend.cc:1:dump_module$1  = 0;
  wire \\$1 ;
  reg [1:0] \\$2 ;
  (* src = "/elsewhere/amaranth/hdl/_ir.py:283" *)
  input clk;
  wire clk;
  (* src = "{RTL}/host/words.py:10" *)
  input go;
  wire go;
  (* src = "/elsewhere/amaranth/lib/stream.py:49" *)
  output out__valid;
  wire out__valid;
  (* src = "{RTL}/host/words.py:12" *)
  reg [1:0] \\count$13  = 2'h0;
  (* src = "{RTL}/host/words.py:12" *)
  always @(posedge clk)
    \\count$13  <= \\$2 ;
  always @* begin
    if (\\$auto$verilog_backend.cc:1:dump_module$1 ) begin end
    \\$2  = \\count$13 ;
    if (go) begin
      \\$2  = 2'h1;
    end
    casez (\\count$13 )
      2'h1:
          \\$2  = 2'h2;
    endcase
  end
endmodule
"""
COUNTED = (
    ("toggle", 3, "__0241:0->1", 0),  # an expression
    ("toggle", 6, "clk:0->1", 9),
    ("toggle", 12, "out__valid:1->0", 0),  # described elsewhere: it counts for the file of the module's other names
    ("toggle", 15, "count__02413[1]:0->1", 4),
    ("toggle", 15, "count__02413[1]:1->0", 0),
    ("branch", 20, "if", 0),  # what Yosys puts before each block
    ("branch", 22, "if", 3),
    ("branch", 22, "else", 0),
    ("line", 26, "case", 2),
    ("line", 19, "block", 9),
)


def fill(folder, *runs):
    (folder / "runs").mkdir(parents=True)
    (folder / "top.v").write_text(VERILOG)
    for number, counted in enumerate(runs):
        lines = ["# SystemC::Coverage-3"]
        for kind, line, name, count in counted:
            fields = {"f": "/gone/top.v", "l": line, "n": 5, "t": kind, "page": "v/top", "o": name, "h": "TOP"}
            text = "".join(f"\x01{key}\x02{value}" for key, value in fields.items())
            lines.append(f"C '{text}' {count}")
        run = folder / "runs" / str(number)
        run.mkdir()
        (run / "coverage.dat").write_text("\n".join(lines) + "\n")


WORDS = "host/words.py"
FOUND = {
    Point(WORDS, "clk", "toggle", "bit 0 0->1"): True,
    Point(WORDS, "out__valid", "toggle", "bit 0 1->0"): False,
    Point(WORDS, "count", "toggle", "bit 1 0->1"): True,
    Point(WORDS, "count", "toggle", "bit 1 1->0"): False,
    Point(WORDS, "count", "branch", "1 if"): True,
    Point(WORDS, "count", "branch", "1 else"): False,
    Point(WORDS, "count", "branch", "3 case"): True,
}


def test_points_are_found_where_they_are_described(tmp_path):
    fill(tmp_path / "top-verilator-0", COUNTED)
    assert points([tmp_path / "top-verilator-0"]) == FOUND


def test_a_point_is_covered_where_any_run_of_any_build_covers_it(tmp_path):
    fill(tmp_path / "a", COUNTED, [("branch", 22, "else", 1)])
    fill(tmp_path / "b", [("toggle", 12, "out__valid:1->0", 1)])
    now = points([tmp_path / "a", tmp_path / "b"])
    assert {point for point, covered in now.items() if covered} - {point for point in FOUND if FOUND[point]} == {
        Point(WORDS, "count", "branch", "1 else"),
        Point(WORDS, "out__valid", "toggle", "bit 0 1->0"),
    }


def test_holes_explain_what_is_not_covered_and_nothing_else():
    explained = Hole(file="host/*", signal="count", kind="toggle", reason="it never falls")
    idle = Hole(signal="clk", reason="it is covered")
    rows, missed, problems = tally(FOUND, [explained, idle])
    row = rows[WORDS]
    assert (row.branches, row.branches_covered, row.toggles, row.toggles_covered) == (3, 2, 4, 2)
    assert row.unexplained == len(missed) == 2
    assert {point.signal for point in missed} == {"out__valid", "count"}
    assert problems == ["explains nothing: * clk: it is covered"]


def test_the_report_fails_below_the_target(tmp_path, monkeypatch, capsys):
    fill(tmp_path / "cosim" / "top-verilator-0", COUNTED)
    monkeypatch.setattr(report, "read_holes", list)
    monkeypatch.setattr("sys.argv", ["report.py", str(tmp_path)])
    assert report.main() == 1
    assert "66.6 % of branches were seen, 90 % are wanted" in capsys.readouterr().err


def test_a_folder_without_runs_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["report.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        report.main()
    assert f"{tmp_path}: no bench with RESPIN_COVERAGE=1 ran there" in capsys.readouterr().err
