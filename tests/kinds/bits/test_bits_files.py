"""Files of bit strings, counts and probabilities: every form in both orders, and every refusal in one line."""

import json

import numpy as np
import pytest
import report_schema
from conftest import small_config

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked import external
from core.errors import UserError
from kinds.bits import reading
from kinds.bits.judging import make_judge, of_masses
from kinds.bits.settings import Config
from kinds.bits.truth import numbers_of, rows_of
from targets import make_target

N = 4
# Read from the other end no two of these are alike: 0010 ↔ 0100, 0111 ↔ 1110.
COUNTS = {"0010": 11, "0111": 7, "1000": 5}
STRINGS = [word for word, count in COUNTS.items() for _ in range(count)]
ROWS = np.array([[int(letter) for letter in word] for word in STRINGS])
P = np.random.default_rng(0).dirichlet(np.ones(2**N))


def config_of(make_config, **settings):
    return make_config(target_type="BITS_PARITY", num_bins=0, bits=Config(n=N, **settings))


def write(path, content):
    """Writes text, an array, or anything else as JSON."""
    if isinstance(content, np.ndarray):
        np.save(path, content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        path.write_text(json.dumps(content))
    return str(path)


def lines(words):
    return "\n".join(map(str, words)) + "\n"


def numbers(words):
    return [int(word, 2) for word in words]


SAMPLES = {
    "strings": ("s.txt", lines(STRINGS), "bits"),
    "strings with comments": ("s.csv", "# a circuit\n\n" + lines(f"{word}  # shot" for word in STRINGS), "bits"),
    "columns between commas": ("s.csv", lines(",".join(word) for word in STRINGS), "bits"),
    "columns between semicolons": ("s.csv", lines("; ".join(word) for word in STRINGS), "bits"),
    "columns between blanks": ("S.TXT", lines(" ".join(word) for word in STRINGS), "bits"),
    "with a byte-order mark": ("s.txt", "\ufeff" + lines(STRINGS), "bits"),
    "an array of integers": ("s.npy", ROWS.astype(np.int8), "bits"),
    "an array of booleans": ("s.npy", ROWS.astype(bool), "bits"),
    "an array of floats": ("s.npy", np.asfortranarray(ROWS, np.float32), "bits"),
    "whole numbers": ("s.npy", np.array(numbers(STRINGS)), "integers"),
    "whole numbers in a column": ("s.npy", np.array(numbers(STRINGS), np.uint8)[:, None], "integers"),
    "whole numbers as text": ("s.txt", lines(numbers(STRINGS)), "integers"),
    # The first looks like a string of two bits.
    "10 and others as text": ("s.txt", lines([10, 3] * 10), "integers"),
    "counts": ("s.json", COUNTS, "bits"),
    "counts as floats": ("s.json", {word: float(count) for word, count in COUNTS.items()}, "bits"),
    "counts with blanks in strings": ("s.json", {f"{word[:2]} {word[2:]}": n for word, n in COUNTS.items()}, "bits"),
}  # fmt: skip


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("form", SAMPLES)
def test_samples_of_every_form_in_both_orders(make_config, tmp_path, form, order):
    name, content, samples = SAMPLES[form]
    config = config_of(make_config, samples=samples, order=order)
    read = reading.read_samples(write(tmp_path / name, content), "FILE", make_target(config), config)
    expected = rows_of([10, 3] * 10, N) if form.startswith("10") else ROWS
    assert read.rows.tolist() == (expected if order == "big" else expected[:, ::-1]).tolist()
    assert read.notes[0] == f"FILE {str(tmp_path / name)!r}: {len(expected)} strings of 4 bits"


MASSES = {
    "numbers as text": ("p.csv", lines(P)),
    "numbers in an array": ("p.npy", P),
    "numbers in a column": ("p.npy", P[:, None].astype(np.float64)),
    "a list": ("p.json", P.tolist()),
    "a number for each string": ("p.json", {format(i, "04b"): value for i, value in enumerate(P)}),
    "a number for each string, in another order": ("p.json", {format(i, "04b"): P[i] for i in range(15, -1, -1)}),
}


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("form", MASSES)
def test_probabilities_of_every_form_in_both_orders(make_config, tmp_path, form, order):
    name, content = MASSES[form]
    config = config_of(make_config, order=order)
    read = reading.read_probabilities(write(tmp_path / name, content), "FILE", make_target(config), config).values
    for i in range(2**N):
        word = format(i, "04b")
        assert read[int(word if order == "big" else word[::-1], 2)] == pytest.approx(P[i], abs=1e-15)


def test_a_string_that_is_not_there_has_no_probability(make_config, tmp_path):
    config = config_of(make_config)
    path = write(tmp_path / "p.json", {"0000": 0.25, "0011": 0.75})
    read = reading.read_probabilities(path, "FILE", make_target(config), config).values
    assert {i: value for i, value in enumerate(read) if value} == {0: 0.25, 3: 0.75}


def test_integers_do_not_change_how_probabilities_and_counts_are_read(make_config, tmp_path):
    config = config_of(make_config, samples="integers")
    target = make_target(config)
    path = write(tmp_path / "p.csv", lines(P))
    assert reading.read_probabilities(path, "FILE", target, config).values == pytest.approx(P)
    assert (
        reading.read_samples(write(tmp_path / "s.json", COUNTS), "FILE", target, config).rows.tolist() == ROWS.tolist()
    )


@pytest.mark.parametrize("order", ["big", "little"])
def test_the_other_order_is_named_where_it_fits_better(make_config, tmp_path, order):
    other = "little" if order == "big" else "big"
    settings = Config(n=N, centres=(0.1,), order=order)
    config = make_config(target_type="BITS_GAUSSIAN", num_bins=0, bits=settings)
    target = make_target(config)
    p = target.truth.p if order == "big" else target.truth.p[reading._reversed(N)]
    strings = np.repeat(np.arange(2**N), np.round(p * 1000).astype(int))
    for is_right, own in ((True, strings), (False, numbers_of(rows_of(strings, N)[:, ::-1]))):
        shares = np.bincount(own, minlength=2**N) / len(own)
        read = reading.read_samples(
            write(tmp_path / "s.txt", lines(format(i, "04b") for i in own)), "F", target, config
        )
        of_masses = reading.read_probabilities(write(tmp_path / "p.npy", shares), "F", target, config)
        for notes in (read.notes[1:], of_masses.notes):
            assert len(notes) == (not is_right)
            if notes:
                assert "read from the other end the strings fit the target better, by " in notes[0]
                assert notes[0].endswith(f'if the file has its bits in that order, set BITS.order = "{other}"')


def test_no_order_is_named_where_both_fit_alike(make_config, tmp_path):
    config = config_of(make_config)
    read = reading.read_samples(write(tmp_path / "s.json", COUNTS), "FILE", make_target(config), config)
    assert len(read.notes) == 1


REFUSED = [
    ("s.txt", lines(["001", "010"] * 10), " has strings of 3 bits, but the target has 4; it needs strings of 4"),
    ("s.txt", lines(["0010", "001"]), ": line 2 is '001'; every line is 4 zeros and ones, as the first one is"),
    ("s.txt", lines(["0010", "0,0,1,0,1"]), ": line 2 is '0,0,1,0,1'; every line is 4 zeros and ones, as the first "
     "one is"),
    ("s.txt", lines(["0010", "001x"]), ": line 2 is '001x'; every line is 4 zeros and ones, as the first one is"),
    ("s.csv", "q0,q1,q2,q3\n0,0,1,0\n", ": line 1 is 'q0,q1,q2,q3'; it needs zeros and ones, such as 0110 or 0,1,1,0; "
     "leave out a line of names"),
    ("s.txt", "|0010>\n", ": line 1 is '|0010>'; it needs zeros and ones, such as 0110, or one number a line"),
    ("s.txt", lines([2, 7, 8]), ' has one number a row: set BITS.samples = "integers" if they stand for strings of 4 '
     "bits"),
    ("s.txt", "# nothing\n", " has no strings: at least 20 are needed"),
    ("s.txt", "", " is empty: it needs strings of zeros and ones, or probabilities"),
    ("s.npy", ROWS + 1, ": row 1 holds [1, 1, 2, 1]; every entry is 0 or 1"),
    ("s.npy", np.where(ROWS, np.nan, 0.0), ": row 1 holds [0.0, 0.0, nan, 0.0]; every entry is 0 or 1"),
    ("s.npy", np.zeros((2, 2, 2)), " has 3 axes: it needs one number or one string a row"),
    ("s.npy", np.array(["0010"]), " holds <U4 entries: it needs real numbers"),
    ("s.json", [], ' holds no strings with numbers, such as {"0110": 123, "1001": 77}'),
    ("s.json", {}, ' holds no strings with numbers, such as {"0110": 123, "1001": 77}'),
    ("s.json", "\"0110\"", ' holds no strings with numbers, such as {"0110": 123, "1001": 77}'),
    ("s.json", ["0110", "1001"], ': entry 1 is "0110"; a list needs numbers of 0 or more, and strings have counts, as '
     'in {"0110": 123, "1001": 77}'),
    ("s.json", [1, True], ': entry 2 is true; a list needs numbers of 0 or more, and strings have counts, as in '
     '{"0110": 123, "1001": 77}'),
    ("s.json", '{"0110": 5,', " is not JSON: Expecting property name enclosed in double quotes: line 1 column 12 (char "
     "11)"),
    ("s.json", "[" * 100_000, " is not JSON: "),
    ("s.json", '{"0110": 5, "1001": 2, "0110": 6}', " has the key '0110' twice: give each string once"),
    ("s.json", '{"0110": 5, "01 10": 6}', " has the key '01 10' and the key '0110', which is the same: give each "
     "string once"),
    ("s.json", {"0x3": 5}, " has the hexadecimal key '0x3', which does not say how many bits its string has: write "
     "strings of zeros and ones, such as '0110'"),
    ("s.json", {"3": 5}, " has the key '3': keys are zeros and ones, such as '0110'"),
    ("s.json", {"": 5}, " has the key '': keys are zeros and ones, such as '0110'"),
    ("s.json", {"0110": -1}, ": '0110' has -1; it needs a count or a probability, 0 or more"),
    ("s.json", {"0110": True}, ": '0110' has true; it needs a count or a probability, 0 or more"),
    ("s.json", {"0110": "5"}, ": '0110' has \"5\"; it needs a count or a probability, 0 or more"),
    ("s.json", {"0110": None}, ": '0110' has null; it needs a count or a probability, 0 or more"),
    ("s.json", {"0110": {"0110": 1}}, ": '0110' has {\"0110\": 1}; it needs a count or a probability, 0 or more"),
    ("s.json", {"0110": float("nan")}, ": '0110' has NaN; it needs a count or a probability, 0 or more"),
    ("s.json", {"0110": float("inf")}, ": '0110' has Infinity; it needs a count or a probability, 0 or more"),
    ("s.json", {"0110": 10**400}, ": '0110' has a number beyond what a float holds; it needs a count or a "
     "probability, 0 or more"),
    ("s.json", '{"0110": 1' + "0" * 5000 + "}", " is not JSON: "),
    ("s.json", {"0110": 2.5}, ": '0110' has 2.5: counts are whole numbers; for probabilities use "
     "EXTERNAL_PROBABILITIES"),
    ("s.json", {"0110": 5, "011": 5}, " has strings of 3 and of 4 bits: all need the same length"),
    ("s.json", {"011": 5, "110": 5}, " has strings of 3 bits, but the target has 4; it needs strings of 4"),
    ("s.json", {"0110": 10**7, "0000": 1}, " has 10 000 001 shots: at most 10 000 000 are read"),
    ("s.json", {"0110": 1e300}, " has about 10^300 shots: at most 10 000 000 are read"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "said"), REFUSED, ids=[f"{i}" for i in range(len(REFUSED))])
def test_samples_that_are_none_are_refused_in_one_line(make_config, tmp_path, name, content, said):
    config = config_of(make_config)
    path = tmp_path / name
    # A string here is the very text, JSON or not.
    write(path, content)
    with pytest.raises(UserError) as refused:
        reading.read_samples(str(path), "FILE", make_target(config), config)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"FILE {str(path)!r}")
    words = line.removeprefix(f"FILE {str(path)!r}")
    assert words.startswith(said) if said.endswith(": ") else words == said


def test_bytes_that_are_no_text_are_refused(make_config, tmp_path):
    config = config_of(make_config)
    for content in (b"\xff\xfe0\x001\x00", b"\x1f\x8b\x08\x00\x00"):
        (tmp_path / "s.txt").write_bytes(content)
        with pytest.raises(UserError, match=r"s\.txt' cannot be read: it is no UTF-8 text$"):
            reading.read_samples(str(tmp_path / "s.txt"), "FILE", make_target(config), config)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([2, 7, 16], "row 3 is 16; strings of 4 bits are the whole numbers 0 … 15"),
        ([2, -1], "row 2 is -1; strings of 4 bits are the whole numbers 0 … 15"),
        ([2.5], "row 1 is 2.5; strings of 4 bits are the whole numbers 0 … 15"),
        ([np.nan], "row 1 is nan; strings of 4 bits are the whole numbers 0 … 15"),
        ([1e300], r"row 1 is 1e\+300; strings of 4 bits are the whole numbers 0 … 15"),
    ],
)
def test_whole_numbers_beyond_the_strings_are_refused(make_config, tmp_path, content, said):
    config = config_of(make_config, samples="integers")
    path = write(tmp_path / "s.npy", np.array(content))
    with pytest.raises(UserError, match=f"s.npy': {said}$"):
        reading.read_samples(path, "FILE", make_target(config), config)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.npy", P[:8] / P[:8].sum(), " holds 8 numbers: it needs 2ⁿ = 16 probabilities, one a row"),
        ("p.npy", P.reshape(4, 4), " has 4 columns: it needs 2ⁿ = 16 probabilities, one a row"),
        ("p.npy", 2 * P, ": the probabilities sum to 2, not 1; divide them by their sum"),
        ("p.npy", np.append(P[1:], -0.5), ": entry 16 is -0.5; none may be below 0"),
        ("p.npy", np.append(P[1:], np.nan), ": entry 16 is nan; none may be below 0"),
        ("p.npy", np.empty(0), " holds 0 numbers: it needs 2ⁿ = 16 probabilities, one a row"),
        ("p.json", {"0110": 0.5, "0000": 0.25}, ": the probabilities sum to 0.75, not 1; divide them by their sum"),
        ("p.json", COUNTS, ": the probabilities sum to 23, not 1; divide them by their sum"),
        ("p.json", {"011": 0.5, "0000": 0.5}, " has a string of 3 bits, '011', but the target has 4; it needs strings "
         "of 4"),
        ("p.txt", lines(["0.5", "x"]), ": line 2 is 'x'; it needs zeros and ones, such as 0110, or one number a line"),
    ],
)  # fmt: skip
def test_probabilities_that_are_none_are_refused_in_one_line(make_config, tmp_path, name, content, said):
    config = config_of(make_config)
    path = write(tmp_path / name, content)
    with pytest.raises(UserError) as refused:
        reading.read_probabilities(path, "FILE", make_target(config), config)
    assert str(refused.value) == f"FILE {path!r}{said}"


def test_fewer_than_twenty_shots_are_refused(make_config, tmp_path):
    for n in (0, 19):
        path = write(tmp_path / "s.json", {"0110": n})
        config = config_of(make_config)
        config = make_config(target_type="BITS_PARITY", num_bins=0, bits=config.bits,
                             external_samples=(("QCBM", path, 5),))  # fmt: skip
        with pytest.raises(UserError, match=rf"s\.json' has {n} rows: at least 20 are needed$"):
            external.load(config, make_target(config))


def custom(make_config, path, **settings):
    return make_target(make_config(target_type="BITS_CUSTOM", num_bins=0, bits=Config(file=path, **settings)))


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("form", SAMPLES)
def test_a_file_of_strings_is_a_target(make_config, tmp_path, form, order):
    name, content, samples = SAMPLES[form]
    target = custom(make_config, write(tmp_path / name, content), samples=samples, order=order, n=N)
    expected = rows_of([10, 3] * 10, N) if form.startswith("10") else ROWS
    expected = expected if order == "big" else expected[:, ::-1]
    n_train = round(0.7 * len(expected))
    assert (target.dim, len(target.train_rows), len(target.held_out_rows)) == (N, n_train, len(expected) - n_train)
    assert target.empirical
    both = np.concatenate([target.train_rows, target.held_out_rows])
    assert sorted(numbers_of(both)) == sorted(numbers_of(expected))
    # What is compared with are the frequencies of the held-out strings.
    shares = np.bincount(numbers_of(target.held_out_rows), minlength=2**N) / len(target.held_out_rows)
    assert target.truth.p == pytest.approx(shares)


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("form", MASSES)
def test_a_file_of_probabilities_is_an_exact_target(make_config, tmp_path, form, order):
    name, content = MASSES[form]
    target = custom(make_config, write(tmp_path / name, content), order=order)
    assert not target.empirical
    assert target.truth.p == pytest.approx(P if order == "big" else P[reading._reversed(N)])


def test_one_string_alone_is_a_target_by_its_probability(make_config, tmp_path):
    target = custom(make_config, write(tmp_path / "p.json", {"0110": 1}))
    assert target.truth.support.tolist() == [6]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("s.json", {"01": 0.5, "10": 0.4}, ": the probabilities sum to 0.9, not 1; divide them by their sum"),
        ("s.json", {"01": 10, "10": 9}, " has 19 strings: at least 20 are needed"),
        ("s.json", {"0": 10, "1": 10}, " has strings of 1 bits: 2 to 20 can be counted"),
        ("s.json", {"01" * 11: 20}, " has strings of 22 bits: 2 to 20 can be counted"),
        ("s.txt", lines([3, 2, 1]), " has 3 numbers: probabilities are 2ⁿ; for whole numbers that stand for strings "
         'set BITS.samples = "integers", and BITS.n'),
        ("s.txt", lines([3, 2, 1, 0]), ' has one number a row: set BITS.samples = "integers" if they stand for '
         "strings of 2 bits"),
        ("s.npy", np.empty(0), ' has 0 numbers: probabilities are 2ⁿ; for whole numbers that stand for strings set '
         'BITS.samples = "integers", and BITS.n'),
        ("s.npy", np.empty((0, 4)), " has 0 strings: at least 20 are needed"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_target_is_refused_in_one_line(make_config, tmp_path, name, content, said):
    path = write(tmp_path / name, content)
    with pytest.raises(UserError) as refused:
        custom(make_config, path)
    assert str(refused.value) == f"BITS.file {path!r}{said}"


def test_the_floor_of_held_out_strings_is_what_repeating_the_training_strings_scores(make_config, tmp_path):
    """Exact divergences from held-out frequencies have a floor above 0, which a perfect model meets as well."""
    p = np.array([0.4, 0.3, 0.2, 0.1])
    strings = np.random.default_rng(0).choice(4, 2000, p=p)
    path = write(tmp_path / "s.txt", lines(format(i, "02b") for i in strings))
    config = make_config(target_type="BITS_CUSTOM", num_bins=0, bits=Config(file=path))
    target = make_target(config)
    floors = make_judge(target, config).floors
    # Two times the divergence of m from N strings is χ²₃ (1/600 + 1/1400): the mean of 200 splits of one file.
    assert floors["kl_exact"].mean == pytest.approx(3 / 2 * (1 / 600 + 1 / 1400), rel=0.25)
    assert 0 < floors["tv_exact"].low < floors["tv_exact"].high < 0.1
    of_model = exact_scores_of(target, p)
    assert floors["kl_exact"].low / 4 < of_model["kl_exact"] < floors["kl_exact"].high
    assert make_judge(make_target(config_of(make_config)), config_of(make_config)).floors["kl_exact"].high == 0


def exact_scores_of(target, p):
    """Of exact probabilities."""
    return of_masses(p, target, None)


@pytest.mark.parametrize("target", ["BITS_CUSTOM", "BITS_PARITY"])
@pytest.mark.parametrize("models", [(), ("CHOW_LIU",)])
def test_external_samples_of_strings_go_through_a_whole_run(here, capsys, target, models):
    """With a replay, which reads the same files and finds the same numbers."""
    write(here / "counts.json", COUNTS)
    words = ["--target-type", target, "--num-bins", "0", "--models", *models,
             "--external-samples", "QCBM", "counts.json", "12",
             "--n-steps", "8", "--n-evaluations", "2", "--snapshot-percent", "50", "--num-seeds", "1",
             "--n-eval-samples", "64"]  # fmt: skip
    words += ["--bits.file", "counts.json"] if target == "BITS_CUSTOM" else ["--bits.n", "4"]
    assert script.main([*words, "--out-dir", "out"]) == 0
    report = json.loads((here / "out/metrics.json").read_text())
    report_schema.checked(here / "out")
    final = report["external"]["QCBM"]["final"]
    assert (final["kl_exact"], final["tv_exact"]) == (None, None)
    assert final["kld"]["median"] >= 0
    assert list(report["provenance"]["inputs"]) == ["counts.json"]
    assert script.main(["--replay", "out/metrics.json", "--out-dir", "again"]) == 0
    assert "bit for bit" in capsys.readouterr().out
    # Another file is another target.
    write(here / "counts.json", {word: count + 1 for word, count in COUNTS.items()})
    assert script.main(["--replay", "out/metrics.json", "--out-dir", "third"]) == 2
    assert "counts.json" in capsys.readouterr().err


def test_the_target_of_a_run_is_written_so_that_a_circuit_can_be_trained_on_it(here):
    """And read again as a target it is the same, in the same order."""
    words = ["--num-bins", "0", "--models", "UNIFORM", "--num-seeds", "1", "--n-steps", "2", "--n-evaluations", "1",
             "--snapshot-percent", "100", "--n-eval-samples", "20"]  # fmt: skip
    assert script.main([*words, "--target-type", "BITS_GAUSSIAN", "--bits.n", "3", "--out-dir", "out"]) == 0
    lines_of = (here / "out/target.csv").read_text().splitlines()
    config = of_script(target_type="BITS_GAUSSIAN", bits=Config(n=3))
    p = make_target(config).truth.p
    assert lines_of == ["state,probability", *(f"{i:03b},{value!r}" for i, value in enumerate(p.tolist()))]
    with np.load(here / "out/samples.npz") as arrays:
        np.testing.assert_array_equal(arrays["target_probabilities"], p)
        np.save(here / "p.npy", arrays["target_probabilities"])
    again = make_target(of_script(target_type="BITS_CUSTOM", bits=Config(file="p.npy"))).truth.p
    assert again == pytest.approx(p, abs=1e-15)
    # Bins have their centres; strings of a file have frequencies and nothing exact.
    words[1] = "4"
    assert script.main([*words, "--models", "HISTOGRAM", "--target-type", "1D_BETA", "--out-dir", "bins"]) == 0
    assert [line.split(",")[0] for line in (here / "bins/target.csv").read_text().splitlines()] == [
        "bin_centre", "-1.875", "-0.625", "0.625", "1.875",
    ]  # fmt: skip
    write(here / "counts.json", COUNTS)
    words[1] = "0"
    assert script.main([*words, "--target-type", "BITS_CUSTOM", "--bits.file", "counts.json", "--out-dir", "out"]) == 0
    assert not (here / "out/target.csv").exists()


def of_script(**fields):
    return small_config(num_bins=0, **fields)


def test_external_samples_of_strings_go_through_a_sweep(here):
    write(here / "counts.json", COUNTS)
    words = ["--sweep", "TARGET_TYPE=BITS_PARITY,BITS_GAUSSIAN", "--num-bins", "0", "--models", "--external-samples",
             "QCBM", "counts.json", "12", "--bits.n", "4", "--num-seeds", "1", "--n-eval-samples", "64",
             "--no-sweep-pictures"]  # fmt: skip
    assert script.main([*words, "--out-dir", "out"]) == 0
    rows = (here / "out/leaderboard.csv").read_text().splitlines()
    assert [row.split(",")[2:5] for row in rows[1:]] == [
        ["BITS_PARITY", "0", "QCBM"], ["BITS_GAUSSIAN", "0", "QCBM"],
    ]  # fmt: skip
