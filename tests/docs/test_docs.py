"""Code in the documentation runs as it stands."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_of_the_meta_gradient_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/meta-gradient.md").read_text(encoding="utf-8"), re.S)
    assert len(code.splitlines()) <= 30
    exec(compile(code, "docs/meta-gradient.md", "exec"), {})


def test_links_between_documents_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)#:]+)\)", prose):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
