"""The public names of `weft.experiments` are documented, in the code and in the reference."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from weft import experiments

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference.md"


def test_the_reference_covers_the_public_names() -> None:
    text = REFERENCE.read_text(encoding="utf-8").partition("currentmodule:: weft.experiments\n")[2]
    listed = re.findall(r"^\.\. autoclass:: (\w+)", text.partition("currentmodule:: weft\n")[0], re.MULTILINE)
    assert sorted(listed) == sorted(experiments.__all__)


def test_public_names_and_methods_are_documented() -> None:
    for name in experiments.__all__:
        found = getattr(experiments, name)
        assert (found.__doc__ or "").strip(), name
        for member, value in vars(found).items():
            if inspect.isfunction(value) and not member.startswith("_"):
                assert (inspect.getdoc(value) or "").strip(), f"{name}.{member}"


def test_import_is_light() -> None:
    code = "import sys, weft.experiments; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert not {"scipy", "pandas", "xarray", "rich", "click", "loky"} & set(loaded.stdout.split())
