"""Certificates in files, for servers and clients on this machine: an authority, and what it signs."""

from __future__ import annotations

from pathlib import Path

from tests.certificates import TestAuthority


class Authority:
    """An authority with its files in `folder`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._authority = TestAuthority(name)
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._authority.pem)

    def issue(self, name: str) -> tuple[Path, Path]:
        """The files of a certificate for 127.0.0.1 and of its key; written anew where they are there."""
        pair = self._authority.issue(dns=["localhost"], ip=["127.0.0.1"], name=name)
        files = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        for file, content in zip(files, (pair.cert, pair.key), strict=True):
            file.write_bytes(content)
        return files
