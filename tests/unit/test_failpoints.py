"""Failpoints: what is understood, when they act, and that the table names exactly the points that there are."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rear import failpoints
from rear.failpoints import POINTS, VARIABLE, BadFailpoints
from tests.conftest import ROOT

POINT = "writer.after_ack"


@pytest.fixture(autouse=True)
def off_afterwards() -> Iterator[None]:
    yield
    failpoints.switch_on({})


class Connection:
    def __init__(self) -> None:
        self.times_cut = 0
        failpoints.can_be_cut(self)

    def cut(self) -> None:
        self.times_cut += 1


def test_every_point_of_the_table_is_in_the_code_and_no_other_is() -> None:
    sources = [path.read_text() for folder in ("rear", "nodes") for path in (ROOT / folder).rglob("*.py")]
    reached = {name for text in sources for name in re.findall(r'failpoints\.reach(?:ing)?\(\s*"([^"]+)"', text)}
    assert reached == set(POINTS)


def test_the_document_names_every_point() -> None:
    told = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (.+) \|$", (ROOT / "docs" / "testing.md").read_text(), re.MULTILINE)
    assert dict(told) == POINTS


def test_nothing_happens_without_the_variable() -> None:
    failpoints.switch_on({})
    failpoints.reach(POINT)
    assert failpoints.reaching(POINT) is None


def test_a_failpoint_acts_at_its_visit_only() -> None:
    connection = Connection()
    failpoints.switch_on({VARIABLE: f"{POINT}=cut@3"})
    cuts = []
    for _ in range(5):
        failpoints.reach("writer.after_anchor")
        failpoints.reach(POINT)
        cuts.append(connection.times_cut)
    assert cuts == [0, 0, 1, 1, 1]


def test_without_a_number_it_acts_at_the_first_visit() -> None:
    connection = Connection()
    failpoints.switch_on({VARIABLE: f"{POINT}=cut"})
    reached = failpoints.reaching(POINT)
    assert reached is not None
    reached()
    reached()
    assert connection.times_cut == 1


def test_a_chance_is_drawn_from_the_seed() -> None:
    def cuts(seed: int) -> list[int]:
        connection = Connection()
        failpoints.switch_on({VARIABLE: f"seed={seed},{POINT}=cut%0.2"})
        found = []
        for _ in range(200):
            failpoints.reach(POINT)
            found.append(connection.times_cut)
        return found

    assert cuts(1) == cuts(1) != cuts(2)
    assert 20 < cuts(1)[-1] < 60


def test_a_file_can_change_what_fails_while_the_process_runs(tmp_path: Path) -> None:
    connection, file = Connection(), tmp_path / "failpoints"
    failpoints.switch_on({VARIABLE: f"@{file}"})
    failpoints.reach(POINT)
    for number in (1, 2):
        draft = tmp_path / "draft"
        draft.write_text(f"{POINT}=cut@2")
        draft.rename(file)
        failpoints.reach(POINT)
        assert connection.times_cut == number - 1
        failpoints.reach(POINT)
        assert connection.times_cut == number
    file.unlink()
    failpoints.reach(POINT)
    failpoints.reach(POINT)
    assert connection.times_cut == 2


def test_a_file_that_cannot_be_understood_switches_all_off(tmp_path: Path) -> None:
    connection, file = Connection(), tmp_path / "failpoints"
    file.write_text("nonsense")
    failpoints.switch_on({VARIABLE: f"@{file}"})
    failpoints.reach(POINT)
    assert connection.times_cut == 0


@pytest.mark.parametrize(
    "text",
    ["nonsense", "no.such_point=kill", f"{POINT}=explode", f"{POINT}=kill@0", f"{POINT}=kill%2", f"{POINT}=delay"],
)
def test_what_is_not_understood_is_told_with_what_is(text: str) -> None:
    with pytest.raises(BadFailpoints) as told:
        failpoints.switch_on({VARIABLE: text})
    assert repr(text) in str(told.value)
    assert all(name in str(told.value) for name in (*POINTS, "kill", "stop", "cut", "delay:SECONDS"))


def test_a_node_that_is_told_nonsense_does_not_start(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("rear")), "up", "--state", str(tmp_path / "state")]
    done = subprocess.run(
        command, env=os.environ | {VARIABLE: "here=kill"}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"rear: ${VARIABLE} has the entry 'here=kill'")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(("action", "number"), [("kill", signal.SIGKILL), ("stop", signal.SIGSTOP)])
def test_a_process_kills_or_stops_itself(action: str, number: signal.Signals) -> None:
    code = f"import os; from rear import failpoints; failpoints.switch_on(os.environ); failpoints.reach('{POINT}')"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {VARIABLE: f"{POINT}={action}"}, stdout=subprocess.DEVNULL
    )
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        found = os.WSTOPSIG(status) if os.WIFSTOPPED(status) else os.WTERMSIG(status)
        assert found == number
    finally:
        process.kill()
        process.wait()
