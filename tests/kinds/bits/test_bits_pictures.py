"""Pictures of strings of bits show what the arrays say, at every size, with every word in its place."""

import dataclasses

import numpy as np
import pytest
import test_plotting
from matplotlib.patches import Rectangle
from test_plotting import collisions, opened, texts

import plotting
from core.drawing import figures, scenes
from kinds.bits import closing_views, endings
from kinds.bits.endings import N_PATTERNS, Correlations
from kinds.bits.judging import shown_masses
from kinds.bits.panels import brief
from kinds.bits.pictured import scene_of
from kinds.bits.settings import Config
from kinds.bits.truth import bits_target, numbers_of, rows_of
from kinds.contract import Ended, Ending, floor_of
from kinds.registry import KINDS
from targets import make_target

no_warnings, shown = test_plotting.no_warnings, test_plotting.shown
NAMES = ["GAN", "VAE", "RBM", "WGAN", "WGAN_GP", "HISTOGRAM", "BERNOULLI_MIXTURE", "UNIFORM", "PRODUCT", "CHOW_LIU"]
EXTERNAL = ["another-circuit-born-machine"]
COLOURS = scenes.family_colours(NAMES, EXTERNAL)
FOUR = dict(target_type="BITS_GAUSSIAN", bits=Config(n=4))
EIGHT = dict(target_type="BITS_GAUSSIAN", bits=Config(n=8))
TWENTY = dict(target_type="BITS_PARITY", bits=Config(n=20))
ISING = dict(target_type="BITS_ISING")
BARS = dict(target_type="BITS_BARS_STRIPES")
WIDE = dict(target_type="BITS_BARS_STRIPES", bits=Config(height=2, width=7))
SIZES = [(FOUR, 1), (FOUR, 3), (EIGHT, 8), (ISING, 3), (ISING, 10), (BARS, 10), (WIDE, 4), (TWENTY, 3)]


@pytest.fixture
def target_of(make_config):
    return lambda fields: make_target(make_config(num_bins=0, **fields))


def drawn_rows(target, n=400, seed=0):
    """Rows of which half are the target's and half are noise."""
    rng = np.random.default_rng(seed)
    truth = target.truth
    numbers = rng.choice(2**truth.n, n // 2, p=truth.p / truth.p.sum())
    return rows_of(np.append(numbers, rng.integers(2**truth.n, size=n - n // 2)), truth.n)


def entries_of(target, n_families, lost=()):
    entries = [
        Ended(name, COLOURS[name], None if i in lost else drawn_rows(target, seed=i), diverged=i in lost,
              estimated=name == "GAN", log_q=None if i in lost or i % 2 else target.log_prob)
        for i, name in enumerate(NAMES[:n_families])
    ]  # fmt: skip
    return [*entries, Ended(EXTERNAL[0], COLOURS[EXTERNAL[0]], masses=target.truth.p)]


def test_the_likeliest_strings_have_exact_probabilities_where_there_are_some(target_of):
    target = target_of(dict(target_type="BITS_BARS_STRIPES", bits=Config(height=2, width=2)))
    # Four times 0000, once 0001 and twice 0011, which alone are rows that are alike inside.
    x = rows_of(np.array([0, 0, 0, 0, 1, 3, 3]), 4)
    masses = np.zeros(16)
    masses[[3, 6]] = 0.75, 0.25
    q = np.log(np.linspace(0.01, 0.16, 16))
    entries = [
        Ended("SHARES", "c", x),
        Ended("EXACT", "c", x, log_q=lambda rows: q[numbers_of(rows)]),
        Ended("ABOUT", "c", x, log_q=lambda rows: q[numbers_of(rows)], estimated=True),
        Ended("MASSES", "c", masses=masses),
        Ended("LOST", "c", diverged=True),
    ]
    (own, shares, exact, about, given, lost), lattice, empirical = endings.patterns_of(Ending(target, {}, entries))
    assert (lattice, empirical) == ((2, 2), False)
    # There are six: 0000, 0011, 0101, 1010, 1100, 1111.
    assert numbers_of(own.strings).tolist() == [0, 3, 5, 10, 12, 15]
    assert own.p.tolist() == pytest.approx([1 / 6] * 6)
    assert own.q is None
    assert own.note == "6 strings have a probability above 0"
    assert numbers_of(shares.strings).tolist() == [0, 3, 1]
    assert shares.q.tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert shares.p.tolist() == pytest.approx([1 / 6, 1 / 6, 0])
    assert shares.valid.tolist() == [True, True, False]
    assert shares.note == "q: share of its sample · 85.7 % of its sample valid"
    # The same strings, in the order of their exact probabilities.
    assert numbers_of(exact.strings).tolist() == [3, 1, 0]
    assert exact.q.tolist() == pytest.approx([0.04, 0.02, 0.01])
    assert (exact.note.split(" ·")[0], exact.about) == ("q: exact", False)
    assert (about.note.split(" ·")[0], about.about) == ("q: estimate", True)
    # Nothing else has probability: nothing else is shown.
    assert numbers_of(given.strings).tolist() == [3, 6]
    assert given.note == "q: exact · 75 % valid"
    assert lost.diverged
    assert len(lost.strings) == 0


def test_a_target_without_a_set_of_valid_strings_has_none_told_apart(target_of):
    target = target_of(FOUR)
    rows, lattice, _ = endings.patterns_of(Ending(target, {}, entries_of(target, 1)))
    assert lattice is None
    assert [row.valid for row in rows] == [None] * 3
    assert len(rows[0].strings) == N_PATTERNS
    assert rows[1].note == "q: estimate"


def test_errors_of_pairs_are_those_of_known_covariances():
    # Two bits that agree with probability 3/4, and a third one by itself: ⟨s s'⟩ = ½ and 0.
    p = np.array([3, 3, 1, 1, 1, 1, 3, 3]) / 16
    target = bits_target("T", np.log(p))
    equal, apart = rows_of(np.array([0, 1, 6, 7]), 3), np.full(8, 1 / 8)
    entries = [Ended("A", "a", equal), Ended("B", "b", masses=apart), Ended("C", "c", diverged=True)]
    floors = {"pair_error": floor_of([0.01, 0.03])}
    (said,) = endings.correlations_of(Ending(target, floors, entries))
    expected = np.zeros((3, 3))
    expected[0, 1] = expected[1, 0] = 0.5
    np.testing.assert_allclose(said.target, expected, atol=1e-12)
    np.testing.assert_allclose(said.errors["A"], expected, atol=1e-12)
    np.testing.assert_allclose(said.errors["B"], -expected, atol=1e-12)
    assert np.isnan(said.errors["C"]).all()
    assert said.floor == pytest.approx(0.02)
    assert said.colours == {"A": "a", "B": "b", "C": "c"}
    assert endings.correlations_of(Ending(target, {}, entries))[0].floor is None


@pytest.mark.parametrize(("fields", "n_families"), SIZES)
def test_both_are_drawn_without_words_that_collide(tmp_path, fields, n_families, target_of, shown):
    target = target_of(fields)
    ending = Ending(target, {"pair_error": floor_of([0.03])}, entries_of(target, n_families, lost=(1,)))
    title = f"{target.name} · " + "a title of some words " * 6
    for name, each in KINDS["bits"].pictures.items():
        del shown[:]
        module, _, function = each.function.rpartition(".")
        assert module == closing_views.__name__
        getattr(closing_views, function)(tmp_path / name, *each.arguments(ending), title)
        opened(tmp_path / name)
        (fig,) = shown
        assert collisions(fig) == []
        heads = [ax._left_title.get_text() for ax in fig.axes if ax._left_title.get_text()]
        assert len(heads) == 2 + n_families
        assert texts(fig).count("diverged") == (n_families > 1)
        # The notes at the right stand clear of the names.
        for ax in fig.axes:
            if ax._right_title.get_text():
                boxes = [words.get_window_extent() for words in (ax._left_title, ax._right_title)]
                assert boxes[0].x1 < boxes[1].x0
        inside = [words for ax in fig.axes for words in ax.texts if words.get_text()]
        assert all(fig.bbox.contains(*words.get_window_extent().min) for words in inside)


def test_invalid_strings_have_a_mark_and_another_frame(tmp_path, target_of, shown):
    target = target_of(BARS)
    x = rows_of(np.array([0, 1]), 16)
    drawing = endings.patterns_of(Ending(target, {}, [Ended("VAE", COLOURS["VAE"], x)]))
    closing_views.patterns(tmp_path / "p.png", *drawing, "title")
    own, family = shown[0].axes
    frames = [[patch for patch in ax.patches if isinstance(patch, Rectangle)] for ax in (own, family)]
    assert [len(each) for each in frames] == [N_PATTERNS, 2]
    assert {frame.get_linestyle() for frame in frames[0]} == {"solid"}
    assert [frame.get_linestyle() == "solid" for frame in frames[1]] == [True, False]
    assert [text.get_text() for text in family.texts if text.get_text()] == ["p 0.033\nq 0.50", "✗ p 0\nq 0.50"]
    images = [image.get_array() for image in family.images]
    np.testing.assert_array_equal(images[1], [[0] * 4] * 3 + [[0, 0, 0, 1]])
    assert "✗ not valid" in texts(shown[0])


def test_probabilities_are_told_in_two_digits():
    values = (0.0, 1.0, 0.24, 0.5, 0.0067, 0.0010, 1.24e-5, 9.99e-4)
    assert [*map(brief, values)] == ["0", "1", "0.24", "0.50", "0.0067", "0.0010", "1.2e−5", "1.0e−3"]


def test_all_maps_have_one_symmetric_scale(tmp_path, shown):
    target, error = np.array([[0, 0.2], [0.2, 0]]), np.array([[0, -0.7], [-0.7, 0]])
    said = Correlations(target, {"VAE": error, "RBM": 0 * error}, COLOURS, 0.03)
    closing_views.correlations(tmp_path / "c.png", said, "title")
    maps = [ax.images[0] for ax in shown[0].axes if ax.images]
    assert [image.get_clim() for image in maps] == [(-0.7, 0.7)] * 3
    assert maps[1].get_array()[0, 1] == -0.7
    # A bit and itself are no pair.
    assert all(np.diagonal(np.ma.getmaskarray(image.get_array())).all() for image in maps)
    words = texts(shown[0])
    assert "largest covariance +0.2 (bits 0, 1)" in words
    assert "largest error −0.7 (bits 0, 1)" in words
    assert "largest error 0" in words
    assert any("0.030 on average" in word for word in words)


def scene_and_shares(target, n_families):
    truth = target.truth
    judge = dataclasses.make_dataclass("Judge", ["masses"])(shown_masses(truth.p, truth))
    shares = {}
    for i, name in enumerate(NAMES[:n_families]):
        numbers = numbers_of(drawn_rows(target, seed=i))
        shares[name] = shown_masses(np.bincount(numbers, minlength=2**truth.n) / len(numbers), truth)
    return scene_of(target, judge, None), shares


@pytest.mark.parametrize(("fields", "n_families"), SIZES)
def test_heads_over_panels_stay_readable(tmp_path, fields, n_families, target_of, shown):
    scene, shares = scene_and_shares(target_of(fields), n_families)
    scores = dict.fromkeys(shares, "exact KL 7.9244   exact TV 0.9995   KLD 17.6786")
    remarks = {"GAN": "▼ loses to HISTOGRAM and CHOW_LIU by exact KL"}
    frame = scenes.Frame(shares, scores, remarks=remarks)
    floors = "floor: exact KL 0   exact TV 0   KLD 0.0029"
    plotting.comparison_hist(tmp_path / "c.png", scene, frame, COLOURS, "title", floors_text=floors)
    opened(tmp_path / "c.png")
    (fig,) = shown
    assert collisions(fig) == []
    heads = [text for ax in fig.axes for text in ax.texts if text.get_text().startswith(("exact KL", "floor"))]
    assert len(heads) == 1 + n_families
    assert min(head.get_fontsize() for head in heads) >= 8
    others = [text.get_text() for ax in fig.axes for text in ax.texts if "other strings" in text.get_text()]
    assert len(others) == (0 if scene.n_states == len(scene.strings) else 1 + n_families)


def test_what_is_left_follows_the_frames(tmp_path, target_of, monkeypatch):
    target = target_of(EIGHT)
    scene, _ = scene_and_shares(target, 1)
    frames = {}
    for i, rest in enumerate((0.5, 0.25)):
        shares = np.full(len(scene.masses), (1 - rest) / (len(scene.masses) - 1))
        shares[-1] = rest
        frames[f"{i}.png"] = scenes.Frame({"GAN": shares}, {"GAN": "KLD 1"}, f"{i} %")
    seen, render = [], figures.render
    monkeypatch.setattr(figures, "render", lambda fig: (seen.append(texts(fig.axes[1])), render(fig))[1])
    plotting.timeline(tmp_path / "t.gif", scene, frames, COLOURS, "title")
    assert [[word for word in words if "other" in word] for words in seen] == [
        ["all other strings: 0.50"],
        ["all other strings: 0.25"],
    ]


@pytest.mark.parametrize(
    ("fields", "scale"), [(FOUR, "linear"), (EIGHT, "linear"), (BARS, "linear"), (ISING, "function")]
)
def test_a_target_with_few_tall_strings_has_an_axis_of_square_roots(tmp_path, fields, scale, target_of, shown):
    scene, shares = scene_and_shares(target_of(fields), 2)
    frame = scenes.Frame(shares, dict.fromkeys(shares, "KLD 1"))
    plotting.comparison_hist(tmp_path / "c.png", scene, frame, COLOURS, "title")
    ax = shown[0].axes[0]
    assert ax.get_yscale() == scale
    assert ("square-root" in ax.get_ylabel()) == (scale == "function")
    ticks = [tick for tick in ax.get_yticks() if tick <= ax.get_ylim()[1]]
    assert ticks[0] == 0
    assert len(ticks) >= 3


def test_what_is_left_of_a_target_that_is_shown_whole_is_nothing(target_of):
    for size in (2, 3, 4):
        target = target_of(dict(target_type="BITS_BARS_STRIPES", bits=Config(height=3, width=size)))
        masses = shown_masses(target.truth.p, target.truth)
        assert masses[-1] == 0
        assert masses.sum() == pytest.approx(1)
