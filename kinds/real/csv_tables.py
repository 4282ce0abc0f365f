"""Numbers in text files: which form a file has, and every fault of it with the file's own line."""

import io
import itertools
import re
import warnings
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, TextIO

import numpy as np

from core.errors import UserError
from core.wording import cut
from kinds import files

MAX_LINE = 4096  # letters of a line
_HEAD = 1000  # lines by which a file's form is known
_THOUSANDS = re.compile(r"[+-]?\d{1,3},\d{3}\.\d+")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


class Form(NamedTuple):
    """How a text file writes its rows."""

    delimiter: str = ","
    decimal: str = "."
    header: str | None = None  # its first line, where that holds no numbers

    def fields(self, line: str) -> list[str]:
        """The fields of a line, with points in their numbers."""
        fields = [field.strip() for field in line.split(self.delimiter)]
        return [field.replace(",", ".") for field in fields] if self.decimal == "," else fields


def read(file: BinaryIO, place: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The numbers of a .csv file.

    Columns stand between commas, or between semicolons with decimal commas, as spreadsheets write them in many
    countries. A first line without any number is a header. What follows # is a comment.

    Args:
      file: opened, at its beginning.
      place: which file, for messages.

    Returns:
      [N, columns] float64, and what is to be said of how it was read.

    Raises:
      UserError: the first line that is none of numbers, a line that is too long, or too many numbers.
    """
    start = file.read(4)
    if start.startswith(b"\x1f\x8b"):
        raise UserError(f"{place} is compressed (gzip): unpack it first")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{place} is UTF-16 text: save it as UTF-8")
    file.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-8-sig")
    try:
        lines = _lines(text, place)
        head = list(itertools.islice(lines, _HEAD))
        form = _form(head, place)
        try:
            rows = _numbers(itertools.chain(head, lines), form)
        except UnicodeDecodeError:
            raise
        except ValueError as error:
            text.seek(0)
            raise _fault(text, form, place) or error from None
    except UnicodeDecodeError as error:
        wrong = error.object[error.start]
        raise UserError(f"{place} is not UTF-8 text (it has a byte {wrong:#04x}): save it as UTF-8") from None
    finally:
        text.detach()
    notes = []
    if form.header is not None:
        notes.append(f"its first line is taken for a header: {cut(form.header.strip(), 60)!r}")
    if form.decimal == ",":
        notes.append("read with semicolons between columns and commas in numbers")
    return rows, tuple(notes)


def line_of_row(file: BinaryIO, row: int) -> int:
    """The file's own line, from 1, of a row of its numbers, from 0; comments and a header are lines too."""
    file.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-8-sig")
    head = list(itertools.islice(text, _HEAD))
    form = _form(head, "")
    text.seek(0)
    try:
        for n, (i, _) in enumerate(_filled(text, form)):
            if n == row:
                return i
    finally:
        text.detach()
    raise ValueError(f"there is no row {row}")


def _lines(text: TextIO, place: str) -> Iterator[str]:
    """The lines of a text file, as long as they are short and hold no more numbers than a table may."""
    n = 0
    for i, line in enumerate(iter(lambda: text.readline(MAX_LINE + 1), ""), 1):
        if len(line) > MAX_LINE:
            raise UserError(f"{place}: line {i} has more than {MAX_LINE} letters; a row is 1 or 2 numbers on its line")
        n += max(line.count(","), line.count(";")) + 1
        if n > files.MAX_NUMBERS:
            most = f"{files.MAX_NUMBERS:,}".replace(",", " ")
            raise UserError(f"{place} has too many numbers: at most {most} are read; keep fewer rows")
        yield line


def _bare(line: str) -> str:
    """A line without its comment and the blanks around it."""
    return line.partition("#")[0].strip()


def _form(head: list[str], place: str) -> Form:
    """The form of a file that begins with these lines.

    Raises:
      UserError: its lines look like single numbers that would be read as two columns.
    """
    bare = [line for line in map(_bare, head) if line]
    if not bare:
        return Form()
    semicolons = sum(";" in line for line in bare) > len(bare) / 2
    form = Form(";", ",") if semicolons and any("," in line for line in bare) else Form(";" if semicolons else ",")
    if len(bare) > 1 and not any(map(_is_number, form.fields(bare[0]))):
        form = form._replace(header=bare[0])
    if form.delimiter == ",":
        _check_two_columns(bare[form.header is not None :], place)
    return form


def _check_two_columns(lines: list[str], place: str) -> None:
    """Raises a UserError where a comma stands within numbers, and not between them."""
    if all(map(_THOUSANDS.fullmatch, lines)):
        raise UserError(
            f"{place}: {lines[0]!r} looks like one number with a comma between thousands, as all its lines do: "
            f"write {lines[0].replace(',', '')}"
        )
    if all(map(_DECIMAL_COMMA.fullmatch, lines)):
        # Nobody writes a whole number with a zero in front.
        odd = [line for line in lines if len(line.partition(",")[2]) > 1 and line.partition(",")[2][0] == "0"]
        if odd:
            raise UserError(
                f"{place}: {odd[0]!r} looks like one number with a decimal comma, as all its lines do: write "
                f"{odd[0].replace(',', '.')}"
            )


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _numbers(lines: Iterator[str], form: Form) -> np.ndarray:
    filled = (line for line in lines if _bare(line))
    if form.header is not None:
        next(filled)
    if form.decimal == ",":
        filled = (line.replace(",", ".") for line in filled)
    with warnings.catch_warnings():
        # That a file holds no rows is said elsewhere, in one line.
        warnings.simplefilter("ignore", UserWarning)
        return np.loadtxt(filled, delimiter=form.delimiter, ndmin=2, dtype=np.float64)


def _filled(text: TextIO, form: Form) -> Iterator[tuple[int, list[str]]]:
    """The lines with rows, by number from 1, as their fields."""
    left = form.header is not None
    for i, line in enumerate(text, 1):
        bare = _bare(line)
        if bare and left:
            left = False
        elif bare:
            yield i, form.fields(bare)


def _fault(text: TextIO, form: Form, place: str) -> UserError | None:
    """The first line that is no row of numbers, or None."""
    n_columns = None
    for i, fields in _filled(text, form):
        n_columns = n_columns or len(fields)
        if len(fields) != n_columns:
            return UserError(f"{place}: line {i} has {_columns(len(fields))}, and those before it {n_columns}")
        for column, field in enumerate(fields, 1):
            if not _is_number(field):
                between = "semicolons" if form.delimiter == ";" else "commas"
                return UserError(
                    f"{place}: line {i}, column {column}: {cut(field, 60)!r} is not a number; a .csv has numbers "
                    f"between {between}, and at most one line of names above them"
                )
    return None


def _columns(n: int) -> str:
    return "1 column" if n == 1 else f"{n} columns"
