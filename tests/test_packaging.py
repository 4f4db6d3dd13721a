"""A built wheel holds every module of the package, the report's template, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_wheel_holds_every_module_and_the_template(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*build, "--wheel-dir", tmp_path, ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {name for name in zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist() if ".dist-info/" not in name}
    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "metaaug_tf").rglob("*.py")}
    wanted |= {
        f"metaaug_tf/{path.relative_to(ROOT).as_posix()}"
        for top in ("configs", "export")
        for path in (ROOT / top).rglob("*.py")
    }
    assert names == wanted | {"metaaug_tf/report/page.html.jinja"}
