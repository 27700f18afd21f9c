"""Copy the protos of the installed googleapis-common-protos package to a folder that buf takes as a module.

    python proto/googleapis.py build/googleapis

buf would otherwise fetch them from a registry, and the versions would not be those that Python runs with.
"""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import files
from pathlib import Path
from typing import Final

RENAMED: Final = {"google/longrunning/operations_proto.proto": "google/longrunning/operations.proto"}
"""Files that the package has under another name than googleapis, and than its own Python modules know them by."""


def copy_googleapis(target: Path) -> int:
    """Make `target` hold the package's .proto files, under the paths they are imported by, and nothing else.

    Returns the number of files.
    """
    shutil.rmtree(target, ignore_errors=True)
    protos = [file for file in files("googleapis-common-protos") or () if file.suffix == ".proto"]
    for proto in protos:
        copy = target / RENAMED.get(proto.as_posix(), proto.as_posix())
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(str(proto.locate())), copy)
    return len(protos)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: googleapis.py TARGET")
    if not copy_googleapis(Path(sys.argv[1])):
        sys.exit("the installed googleapis-common-protos package has no .proto files")
