"""The anchor survives whatever happens in the middle of a write."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rear.ledger.anchor import SLOT, Anchor, AnchorPoint
from rear.ledger.errors import LedgerDamaged


def point(sequence: int) -> AnchorPoint:
    return AnchorPoint("6f0e", sequence, f"{sequence:064x}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "anchor"


def test_an_absent_file_is_no_point(path: Path) -> None:
    assert Anchor(path).read() is None
    assert not path.exists()


def test_what_was_written_last_is_read_by_another_process(path: Path) -> None:
    anchor = Anchor(path)
    for sequence in range(1, 8):
        anchor.write(point(sequence))
        assert Anchor(path).read() == point(sequence)
    anchor.close()


def test_all_fields_come_back(path: Path) -> None:
    written = AnchorPoint("a log", 12, "ab" * 32, segment=3)
    Anchor(path).write(written)
    assert Anchor(path).read() == written


def test_writing_goes_on_after_a_close_and_in_another_process(path: Path) -> None:
    anchor = Anchor(path)
    anchor.write(point(1))
    anchor.close()
    anchor.write(point(2))
    Anchor(path).write(point(3))
    assert Anchor(path).read() == point(3)


def test_the_file_keeps_its_size(path: Path) -> None:
    anchor = Anchor(path)
    anchor.write(point(1))
    size = path.stat().st_size
    for sequence in (2, 10**15, 4):
        anchor.write(point(sequence))
    assert path.stat().st_size == size == 2 * SLOT


@given(st.integers(1, 6), st.integers(0, SLOT), st.booleans())
def test_a_write_torn_anywhere_leaves_the_point_before_it(writes: int, torn_at: int, backwards: bool) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "anchor"
        anchor = Anchor(path)
        for sequence in range(1, writes + 1):
            anchor.write(point(sequence))
        before = path.read_bytes()
        anchor.write(point(writes + 1))
        after = path.read_bytes()
        anchor.close()
        at = next(slot for slot in (0, SLOT) if before[slot : slot + SLOT] != after[slot : slot + SLOT])
        cut = at + torn_at
        slot_end = at + SLOT
        torn = (
            before[:cut] + after[cut:slot_end] + before[slot_end:]
            if backwards
            else before[:at] + after[at:cut] + before[cut:]
        )
        path.write_bytes(torn)
        assert Anchor(path).read() in (point(writes), point(writes + 1))
        Anchor(path).write(point(writes + 2))
        assert Anchor(path).read() == point(writes + 2)


def test_the_newest_slot_gone_bad_leaves_the_one_before(path: Path) -> None:
    anchor = Anchor(path)
    for sequence in (1, 2, 3):
        anchor.write(point(sequence))
    anchor.close()
    content = path.read_bytes()
    newest = content.index(f'"sequence": {3},'.encode())
    path.write_bytes(content[:newest] + b"?" + content[newest + 1 :])
    assert Anchor(path).read() == point(2)


@pytest.mark.parametrize("content", [b"", b"x" * 100, bytes(2 * SLOT)])
def test_a_file_without_a_valid_point_is_damage(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LedgerDamaged, match=r"anchor.*accept-loss"):
        Anchor(path).read()
    with pytest.raises(LedgerDamaged):
        Anchor(path).write(point(1))
    assert path.read_bytes() == content


def test_half_a_file_is_damage(path: Path) -> None:
    Anchor(path).write(point(1))
    os.truncate(path, SLOT)
    with pytest.raises(LedgerDamaged):
        Anchor(path).read()


def test_a_damaged_file_can_be_replaced(path: Path) -> None:
    path.write_bytes(b"not an anchor")
    anchor = Anchor(path)
    anchor.replace(point(7))
    assert Anchor(path).read() == point(7)
    anchor.write(point(8))
    assert Anchor(path).read() == point(8)


def test_a_file_that_was_never_finished_is_not_the_anchor(path: Path) -> None:
    path.with_name("anchor.new").write_bytes(b"killed here")
    assert Anchor(path).read() is None
    Anchor(path).write(point(1))
    assert Anchor(path).read() == point(1)


def test_a_failed_write_leaves_the_point_before_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anchor = Anchor(path)
    for sequence in (1, 2):
        anchor.write(point(sequence))

    def fail(_: int) -> None:
        raise OSError("disk")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fail)
        for sequence in (3, 4):
            with pytest.raises(OSError, match="disk"):
                anchor.write(point(sequence))
    content = path.read_bytes()
    assert b'"sequence": 2,' in content
    anchor.write(point(5))
    assert Anchor(path).read() == point(5)


def test_a_point_too_long_for_its_slot_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Anchor(path).write(AnchorPoint("x" * SLOT, 1, ""))
    assert not path.exists()
