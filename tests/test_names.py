"""Names that files, folders and datasets give: one line of text, or rejected; never a broken line of output."""

import pytest

import metaaug_tf as ma
from metaaug_tf.names import check_class_names, is_one_line, printable

GOOD = ["cat", "a b", "Über", "猫", "$5", "a/b", "{x}", "<b>", "🐈", "e\u0301", "\u200d"]
BAD = ["a\nb", "a\rb", "tab\there", "\x00", "\x1b[31mred", "\x7f", "\x85", "\u2028", "\u2029", "\udcff"]


@pytest.mark.parametrize("name", GOOD)
def test_names_of_one_line_are_taken_as_they_are(name):
    check_class_names([name])
    assert is_one_line(name) and printable(name) == name


@pytest.mark.parametrize("name", BAD)
def test_names_that_break_lines_or_terminals_are_rejected_and_shown_with_escapes(name):
    with pytest.raises(ma.UserError, match="one line of UTF-8 text") as caught:
        check_class_names(["fine", name])
    for text in (str(caught.value), printable(name)):
        assert text.isprintable() and text.encode("utf-8") and len(text.splitlines()) == 1


@pytest.mark.parametrize("name", ["", " ", "\u3000"])
def test_names_that_nobody_sees_are_rejected(name):
    with pytest.raises(ma.UserError, match="rename it"):
        check_class_names([name])
