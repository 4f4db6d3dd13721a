"""Writes docs/command-line.md from the flags and settings; tests/docs/test_docs_commands.py keeps it current.

python docs/make_command_line.py
"""

import re
import sys
from pathlib import Path

from absl import flags

from metaaug_tf import main
from metaaug_tf.config import settings_table
from metaaug_tf.export.serve import make_parser

PAGE = Path(__file__).parent / "command-line.md"
TEXT = """# Command line

Made by `python docs/make_command_line.py` from the program's own flags.

## Train, evaluate, export, report

    python -m metaaug_tf.main --dataset=NAME [flags] [--config.KEY=VALUE ...]

{flags}

The same command again resumes where it stopped. Exit codes:

| code | after |
| --- | --- |
| 0 | all is done |
| {usage} | bad input, or a file that can't be written; the message says what was given and what to do |
| {lost} | another worker of a multi_worker run has died; start all workers again |
| 129, 130, 143 | SIGHUP (the terminal was closed), Ctrl-C, SIGTERM; everything is saved |

## Settings

`--config.KEY=VALUE`. The defaults are those of `configs/default.py`; `configs/DATASET.py` may have others, which
`--help --dataset=DATASET` shows.

{settings}

## Serve

    python -m metaaug_tf.export.serve --model=DIR [flags]

{serve}
"""


def table(*rows):
    """A Markdown table; the first row is the heading."""
    lines = ["| " + " | ".join(re.sub(r"([|*])", r"\\\1", str(cell)) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join("---" for _ in rows[0]) + " |", *lines[1:]])


def code(value):
    """A default as the command line takes it; nothing for none."""
    return "" if value is None or value is False or value == [] or value == "" else f"`{value}`"


def flag_rows():
    """Flags of metaaug_tf.main in the order of --help."""
    for name in main.OWN_FLAGS:
        flag = main.FLAGS[name]
        kind = flag.flag_type()
        text = flag.help
        if kind == "string enum":
            allowed, text = text.split(": ", 1)
            allowed = ", ".join(f"`{value}`" for value in allowed.strip("<>").split("|"))
            text = f"{text[0].upper()}{text[1:]} One of {allowed}."
        yield f"`--{name}`", code(flag.default), text


def setting_rows():
    """Settings with their defaults, meanings and ranges, those that belong together beside each other."""
    for name, row in settings_table().items():
        if name in main.OWN_FLAGS:
            continue
        default, rule = f"`{row.default}`" if row.default != "" else "", row.metadata["rule"]
        yield f"`{name}`", default, row.metadata["meaning"], rule.words() if rule else ""


def serve_rows():
    """Flags of metaaug_tf.export.serve."""
    for action in make_parser()._actions:
        if action.dest != "help":
            yield f"`{action.option_strings[0]}`", code(action.default), action.help


def page():
    """The page's text; needs metaaug_tf.main's flags defined."""
    return TEXT.format(
        usage=main.USAGE_ERROR,
        lost=main.WORKER_LOST,
        flags=table(("flag", "default", "what it does"), *flag_rows()),
        settings=table(("setting", "default", "what it is", "allowed"), *setting_rows()),
        serve=table(("flag", "default", "what it does"), *serve_rows()),
    )


if __name__ == "__main__":
    main.define_flags("default")
    flags.FLAGS(sys.argv[:1])
    PAGE.write_text(page(), encoding="utf-8")
