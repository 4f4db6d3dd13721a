"""Names from outside (of classes, files, folders) that are printed, drawn and written as lines."""

import unicodedata
from collections.abc import Iterable

from metaaug_tf.errors import UserError

# Control characters, surrogates of undecodable bytes, and what ends a line somewhere (str.splitlines).
_UNSAFE = {"Cc", "Cs", "Zl", "Zp"}


def is_one_line(name: str) -> bool:
    """Whether a name is valid text on a single line: no control character, no byte that is not UTF-8."""
    return not any(unicodedata.category(character) in _UNSAFE for character in name)


def printable(name: object) -> str:
    """A name for a message: as it is, or quoted with escapes where it would break the line or the terminal."""
    text = str(name)
    return text if is_one_line(text) else ascii(text)


def check_class_names(names: Iterable[str]) -> None:
    """Rejects names of classes that lists of names can't hold, a name a line.

    Raises:
        UserError: names the first that is empty or not one line of text.
    """
    for name in names:
        if not name.strip() or not is_one_line(name):
            raise UserError(
                f"a class name must be one line of UTF-8 text without control characters, got {name!a}; rename it"
            )
