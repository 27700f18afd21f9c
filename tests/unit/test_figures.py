"""What a benchmark's figure says of its target."""

from __future__ import annotations

from benchmarks.figures import Figure, Target, at_least, at_most


def test_a_figure_says_whether_its_target_is_met_and_by_how_much_it_is_missed() -> None:
    def line(value: float, target: Target | None) -> str:
        return Figure("key", "label", value, "s", target).line

    assert line(3.0, at_most(3)).endswith("s   (target: ≤ 3.000, met)")
    assert line(3.6, at_most(3)).endswith("(target: ≤ 3.000, missed by 20%)")
    assert line(20_000, at_least(20_000)).endswith("(target: ≥ 20,000, met)")
    assert line(15_000, at_least(20_000)).endswith("(target: ≥ 20,000, missed by 25%)")
    assert line(1.0, None).endswith("s")
