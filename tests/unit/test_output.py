"""What commands write of what others wrote."""

from __future__ import annotations

import pytest

from rear.command.failures import complain
from rear.command.output import visible, write_facts, write_table

STEERING = "\x1b]0;owned\x07\x9b2J\nall is well\u202e"
WRITTEN_OUT = r"\x1b]0;owned\x07\x9b2J\nall is well\u202e"


def test_what_is_printable_is_written_as_it_is() -> None:
    assert visible("Zürich, 3 €") == "Zürich, 3 €"


def test_nothing_that_others_wrote_steers_the_terminal_or_forges_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_facts(STEERING, [("reason", STEERING)])
    write_table(("reason",), [(STEERING,)])
    complain("refused:\x1b]0;owned\x07")
    written = capsys.readouterr()
    assert written.out.splitlines() == [WRITTEN_OUT, f"  reason  {WRITTEN_OUT}", "REASON", WRITTEN_OUT]
    assert written.err == "rear: refused:\\x1b]0;owned\\x07\n"
