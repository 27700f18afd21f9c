"""Write the Python stubs of the protos under proto/rear, or prove that the committed ones are current.

    python proto/generate.py            write rear/v1 and rear/event/v1
    python proto/generate.py --check    write nothing; exit 1 and name what differs

The folders named in `PACKAGES` belong to this script: what it does not write there, it removes. The same
protos and the same (pinned) generators give the same bytes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "proto"
PACKAGES = ("rear/v1", "rear/event/v1")

Stubs = Mapping[str, bytes]
"""Contents by path, relative to the project root."""


def generated() -> Stubs:
    """The stubs that the protos give today."""
    sources = sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.glob("rear/**/*.proto"))
    strays = [source for source in sources if source.rpartition("/")[0] not in PACKAGES]
    if strays or not sources:
        raise SystemExit(f"expected .proto files in {' and '.join(PACKAGES)} only, found {strays or 'none'}")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        descriptors = out / "descriptors.binpb"
        messages = (f"--python_out={out}", f"--mypy_out=quiet:{out}", f"--descriptor_set_out={descriptors}")
        protoc(sources, *messages)
        described = FileDescriptorSet.FromString(descriptors.read_bytes())
        with_services = [file.name for file in described.file if file.service]
        if with_services:
            # Every RPC of a servicer is abstract to mypy: one left to the generated base class would answer
            # UNIMPLEMENTED with the name of a Python exception in it.
            protoc(with_services, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}")
        stubs = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.glob("rear/**/*.py*")}
    for package in PACKAGES:
        docstring = f'"""Generated from proto/{package} by proto/generate.py."""\n'
        stubs[f"{package}/__init__.py"] = docstring.encode()
    return stubs


def protoc(sources: Sequence[str], *outputs: str) -> None:
    """Run the compiler that grpcio-tools carries, with the plugins of this interpreter's environment."""
    scripts = Path(sys.executable).parent
    with as_file(files("grpc_tools") / "_proto") as well_known, tempfile.TemporaryDirectory() as googleapis:
        subprocess.run([sys.executable, PROTOS / "googleapis.py", googleapis], check=True)
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            *(f"--proto_path={path}" for path in (PROTOS, googleapis, well_known)),
            *(f"--plugin=protoc-gen-{name}={scripts}/protoc-gen-{name}" for name in ("mypy", "mypy_grpc")),
            *outputs,
            *sources,
        ]
        if code := subprocess.run(command, check=False).returncode:
            raise SystemExit(code)


def committed() -> Stubs:
    """The stubs that lie in the tree."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def differences(old: Stubs, new: Stubs) -> dict[str, str]:
    """What would have to be done to each path of `old` for it to be `new`; empty where they are the same."""
    actions = {path: "remove" for path in old.keys() - new.keys()}
    actions |= {path: "add" for path in new.keys() - old.keys()}
    actions |= {path: "change" for path in old.keys() & new.keys() if old[path] != new[path]}
    return dict(sorted(actions.items()))


def main() -> None:
    """Entry point; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Write the Python stubs of the protos under proto/rear.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if the stubs are stale")
    check = parser.parse_args().check
    new = generated()
    actions = differences(committed(), new)
    for path, action in actions.items():
        print(f"{action:7}{path}")
        if check:
            continue
        if action == "remove":
            (ROOT / path).unlink()
        else:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_bytes(new[path])
    if check and actions:
        raise SystemExit("The committed stubs are not what the protos say: run `make proto`.")


if __name__ == "__main__":
    main()
