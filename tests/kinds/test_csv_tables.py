"""Text files of numbers: the forms that are read, and the line of the file that is named where one is not."""

import gzip

import numpy as np
import pytest

from core.errors import UserError
from kinds.real import tables

ROWS = np.arange(40).reshape(20, 2) / 8


@pytest.fixture
def read(tmp_path):
    def call(content, name="rows.csv"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tables.read_table(str(tmp_path / name), "CUSTOM_FILE")

    return call


@pytest.fixture
def fault(read):
    def call(content, name="rows.csv"):
        with pytest.raises(UserError) as error:
            read(content, name)
        return str(error.value)

    return call


def lines(rows, between=","):
    return [between.join(map(str, row)) for row in rows.tolist()]


def test_plain_numbers_need_no_word(read):
    table = read("\n".join(lines(ROWS)))
    np.testing.assert_array_equal(table.rows, ROWS)
    assert table.notes == ()
    assert tables.notes_of(table, "X") == ("X: 20 rows of 2 columns",)


def test_a_header_is_left_out_with_a_word(read):
    table = read("\n".join(["# measured in May", "length,width", *lines(ROWS)]))
    np.testing.assert_array_equal(table.rows, ROWS)
    assert table.notes == ("its first line is taken for a header: 'length,width'",)


def test_semicolons_with_decimal_commas(read):
    table = read("\n".join(line.replace(".", ",") for line in lines(ROWS, ";")))
    np.testing.assert_array_equal(table.rows, ROWS)
    assert table.notes == ("read with semicolons between columns and commas in numbers",)


def test_semicolons_a_header_a_mark_and_line_ends_of_another_system(read):
    content = "\r\n".join(["Länge;Breite", *(line.replace(".", ",") for line in lines(ROWS, ";"))])
    table = read(b"\xef\xbb\xbf" + content.encode())
    np.testing.assert_array_equal(table.rows, ROWS)
    assert table.notes[0] == "its first line is taken for a header: 'Länge;Breite'"
    assert tables.notes_of(table, "X")[0].startswith("X: 20 rows of 2 columns; its first line")


def test_semicolons_with_decimal_points(read):
    np.testing.assert_array_equal(read("\n".join(lines(ROWS, ";"))).rows, ROWS)


def test_an_ending_in_capitals_is_one_too(read):
    np.testing.assert_array_equal(read("\n".join(lines(ROWS)), "DATA.CSV").rows, ROWS)


def test_the_third_form_of_npy(tmp_path):
    with open(tmp_path / "rows.npy", "wb") as file:
        np.lib.format.write_array(file, ROWS, version=(3, 0))
    np.testing.assert_array_equal(tables.read_rows(str(tmp_path / "rows.npy"), "CUSTOM_FILE"), ROWS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"1,2\n", mtime=0), "is compressed (gzip): unpack it first"),
        ("1,2\n".encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        ("Größe\n1\n".encode("cp1252"), "is not UTF-8 text (it has a byte 0xf6): save it as UTF-8"),
        ("1,05\n" * 20, "'1,05' looks like one number with a decimal comma, as all its lines do: write 1.05"),
        ("1,234.56\n" * 20, "'1,234.56' looks like one number with a comma between thousands"),
        ("# one\n\n1,2\n3,4\n5,x\n", "line 5, column 2: 'x' is not a number"),
        ("a,b\n1,2\n3\n", "line 3 has 1 column, and those before it 2"),
        ("1;2\n3;vier\n", "line 2, column 2: 'vier' is not a number; a .csv has numbers between semicolons"),
        ("# one\nname\n1\n2\n\n# two\ninf\n", "line 7 holds [inf]; every entry must be a finite number"),
        ("name\n", "line 1, column 1: 'name' is not a number"),
        ("length,1.5\n2,3\n", "line 1, column 1: 'length' is not a number"),
    ],
    ids=range(11),
)
def test_what_is_wrong_is_named_by_its_line(fault, content, said):
    assert said in fault(content)


def test_pairs_of_whole_numbers_are_two_columns(read):
    assert read("1,25\n3,175\n4,0\n" * 10).rows.shape == (30, 2)
