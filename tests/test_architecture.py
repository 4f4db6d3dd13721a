"""docs/architecture.md and docs/method.md say what is true: folders, the direction of imports, cited steps."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
METHOD = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
MOST_MODULES, MOST_IMPORTS = 12, 14


def modules():
    """{dotted name: path} of the package, with configs and export where they are imported from."""
    found = {}
    for top, prefix in (("metaaug_tf", ""), ("configs", "metaaug_tf."), ("export", "metaaug_tf.")):
        for path in (ROOT / top).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[(prefix + ".".join(parts)).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports_of(name):
    """Own modules that a module imports, within functions too, but not what is for type checkers alone."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for_checkers = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if node in for_checkers:
            continue
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside & set(MODULES) or {node.module}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & set(MODULES)
    return found - {name, "metaaug_tf"}


GRAPH = {name: imports_of(name) for name in MODULES if name != "metaaug_tf"}


def room(name):
    """The first part of a module's name below the package."""
    return name.removeprefix("metaaug_tf.").split(".")[0]


def floors():
    """{room: line of the page's list, counted from below}."""
    (block,) = re.findall(r"```imports\n(.*?)```", PAGE, re.S)
    lines = [line.split(", ") for line in block.strip().splitlines()]
    return {name: height for height, line in enumerate(reversed(lines)) for name in line}


def test_the_list_of_imports_names_every_room():
    assert set(floors()) | {"configs"} == {room(name) for name in GRAPH}


@pytest.mark.parametrize("name", GRAPH)
def test_imports_go_down(name):
    height = floors() | {"configs": len(floors())}
    for other in GRAPH[name]:
        assert room(other) == room(name) or height[room(other)] < height[room(name)], f"{name} imports {other}"


def test_no_modules_import_each_other():
    done, path = set(), []

    def visit(name):
        assert name not in path, f"a cycle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            path.append(name)
            for other in sorted(GRAPH[name]):
                visit(other)
            path.pop()
            done.add(name)

    for name in sorted(GRAPH):
        visit(name)


@pytest.mark.parametrize("name", GRAPH)
def test_no_module_needs_too_many_others(name):
    assert len(GRAPH[name]) <= MOST_IMPORTS, sorted(GRAPH[name])


def folders():
    """Every folder of the package, from the repository's root."""
    return sorted({path.parent.relative_to(ROOT) for path in MODULES.values()} - {Path("metaaug_tf")})


@pytest.mark.parametrize("folder", folders(), ids=str)
def test_a_folder_has_few_modules_a_row_on_the_page_and_a_door(folder):
    members = [path for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py"]
    assert len(members) <= MOST_MODULES
    assert re.search(rf"^\| `{re.escape(str(folder))}` \| \w", PAGE, re.M), "a row in docs/architecture.md"
    door = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text(encoding="utf-8")))
    first = re.search(r"Read first: `([a-z_]+\.py)`", door)
    assert first and (ROOT / folder / first[1]).is_file()


def test_files_that_the_page_names_are_there():
    for name in re.findall(r"`([a-z_/]+\.py)`", PAGE):
        found = [path for path in [*MODULES.values(), *ROOT.glob("*/*.py")] if str(path).endswith(f"/{name}")]
        assert found, name


def cited():
    """Everything that code and pages cite of method.md: (where, step or section)."""
    pages = [*MODULES.values(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    for path in [*pages, *(ROOT / "docs").glob("*.md")]:
        text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
        for what in re.findall(r"method\.md, (steps? [\d, and to]+|equations? [\d, and to]+|\"[^\"]+\")", text):
            yield path.name, what.strip()


CITED = sorted(set(cited()))


def test_something_is_cited():
    assert len(CITED) > 8


@pytest.mark.parametrize(("where", "what"), CITED)
def test_what_is_cited_of_the_method_is_there(where, what):
    if what.startswith('"'):
        assert f"## {what.strip(chr(34))}\n" in METHOD
    elif what.startswith("step"):
        for number in re.findall(r"\d+", what):
            assert f"**Step {number}, " in METHOD
    else:
        for number in re.findall(r"\d+", what):
            assert f"({number})  " in METHOD
