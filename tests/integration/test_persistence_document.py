"""The example of docs/persistence.md is run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from rear.persistence import settings
from tests.nats_servers import PlainServer

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "persistence.md").read_text()


def test_the_example_runs(plain_server: PlainServer, tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert example is not None
    text = example[1].replace("nats://127.0.0.1:4222", plain_server.url)
    assert text != example[1]
    (tmp_path / "school.py").write_text(text)
    ran = subprocess.run([sys.executable, "school.py"], cwd=tmp_path, timeout=60, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_the_table_has_every_variable() -> None:
    ours = {value for name, value in vars(settings).items() if name.isupper() and isinstance(value, str)}
    table = DOCUMENT[DOCUMENT.index("| variable |") : DOCUMENT.index("`APPLICATION_RECORDER_TOPIC`")]
    assert ours | {"PERSISTENCE_MODULE"} == set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", table))
