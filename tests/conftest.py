"""What every test may rely on: Hypothesis profiles and the recorded cluster trace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# No deadline anywhere: on a shared machine it measures the neighbours. In CI a red run should be the
# change's doing, so its examples are the same every time; elsewhere each run looks at new ones.
settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True, database=None)
settings.register_profile("deep", deadline=None, print_blob=True, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))


@pytest.fixture(scope="session")
def openb() -> Path:
    """The folder of the openb cluster trace: in $REAR_DATA, by default ../shared/data beside the project."""
    folder = Path(os.environ.get("REAR_DATA") or ROOT.parent / "shared" / "data") / "openb"
    if not folder.is_dir():
        pytest.skip(f"no openb trace at {folder}: set REAR_DATA to the folder that holds openb/")
    return folder
