"""The authority of `rear pki`: what it does not issue, and what it leaves behind where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from rear.command import authority
from rear.command.authority import CannotIssue
from tests.certificates import TestAuthority, tampered

NODE = "spiffe://local.test/node/n1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    authority.init(tmp_path / "pki", "local.test", 1)
    return tmp_path / "pki"


def test_a_certificate_does_not_outlive_its_authority(folder: Path) -> None:
    issued = authority.issue(folder, NODE, days=30)
    (made,), (its_authority,) = authority.summaries(issued.certificate), authority.summaries(folder / "ca.pem")
    assert made.not_after == its_authority.not_after


def test_an_authority_that_has_expired_issues_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = authority.summaries(folder / "ca.pem")[0].not_after

    class Clock:
        @staticmethod
        def now(_: object) -> object:
            return later

    monkeypatch.setattr(authority, "datetime", Clock)
    with pytest.raises(CannotIssue, match=r"ca\.pem expired at .*: make another"):
        authority.issue(folder, NODE)


def test_a_key_that_is_not_the_authoritys_signs_nothing(folder: Path, tmp_path: Path) -> None:
    other = authority.init(tmp_path / "other", "local.test", 1)
    other.key.replace(folder / "ca.key")
    with pytest.raises(CannotIssue, match=r"ca\.key is not the key of .*ca\.pem"):
        authority.issue(folder, NODE)


def test_no_key_is_left_where_its_certificate_cannot_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_new = authority._write_new

    def full(path: Path, content: bytes, mode: int) -> None:
        if path.name == "cert.pem":
            raise OSError(28, "No space left on device")
        write_new(path, content, mode)

    monkeypatch.setattr(authority, "_write_new", full)
    with pytest.raises(CannotIssue, match="No space left"):
        authority.issue(folder, NODE, out=tmp_path / "out")
    assert not [*(tmp_path / "out").iterdir()]


def test_what_cannot_be_read_in_a_certificate_is_said(tmp_path: Path) -> None:
    path = tmp_path / "strange.pem"
    path.write_bytes(tampered(TestAuthority(domain="local.test").pem, "0603551d1e", "0603551d13"))
    with pytest.raises(CannotIssue, match=r"has a certificate that cannot be read: .* Duplicate"):
        authority.summaries(path)
