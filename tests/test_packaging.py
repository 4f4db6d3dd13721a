"""A built wheel holds every package and the report's template."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_wheel_holds_configs_export_and_the_template(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*build, "--wheel-dir", tmp_path, ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    for name in ("configs/glyphs.py", "export/savedmodel.py", "report/page.html.jinja", "main.py"):
        assert f"metaaug_tf/{name}" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
