"""Pictures of Markov chains and of the Ising model show what the arrays say, with every word in its place."""

import numpy as np
import pytest
import test_plotting
from test_plotting import collisions, opened, texts

from core.drawing import scenes
from core.drawing.scenes import Contribution, Curve
from kinds.bits import chain_views, ising, ising_views
from models import lattice_scans, mixing, mixing_views

no_warnings, shown = test_plotting.no_warnings, test_plotting.shown
NAMES = ["GIBBS", "METROPOLIS", "SWENDSEN_WANG"]
COLOURS = scenes.family_colours(NAMES)
TITLE = "GIBBS, METROPOLIS and SWENDSEN_WANG · BITS_ISING · 16 × 16, torus, K = 0.440687 · 1 seed · N_STEPS = 4000"
STEPS = np.array([0, 1, 10, 100])


def parts_of(arrays):
    """What each family contributes, from (its place) -> arrays."""
    score = Curve(STEPS, np.array([[1.0, 0.3, 1e-9, 0.01]]))
    return {
        name: Contribution(
            {key: np.asarray(value) for key, value in arrays(i).items()}, {}, {"kld": score}, COLOURS[name], False
        )
        for i, name in enumerate(NAMES)
    }


def recording(i, frozen=False):
    generator = np.random.default_rng(i)
    m = np.tanh(np.cumsum(generator.normal(size=(8, 401)) / 10, axis=1))
    if frozen:
        m = np.repeat(np.sign(m[:, :1]), 401, axis=1)
    e = -1.4 + 0.1 * generator.normal(size=(8, 401))
    return mixing.Recording(
        {"e": e, "m": m}, 0.1, 1e-3, {"e": -1.4, "m": 0.0}, autocorrelation={"e": 0.5 ** np.arange(30)}
    )


def test_traces(tmp_path, shown):
    parts = parts_of(lambda i: mixing_views.traces(recording(i)))
    chain_views.traces(tmp_path / "t.png", parts, None, {}, TITLE)
    opened(tmp_path / "t.png")
    assert collisions(shown[0]) == []
    panels = np.reshape(shown[0].axes, (3, 2))
    # The energies of all families can be compared.
    assert len({ax.get_ylim() for ax in panels[:, 0]}) == 1
    for i, (left, _) in enumerate(panels):
        means = recording(i).values["e"].mean(0)
        lines = [line.get_ydata() for line in left.lines]
        assert any(len(y) == 401 and np.allclose(y, np.cumsum(means) / np.arange(1, 402)) for y in lines)
        assert any(np.allclose(y, -1.4) for y in lines)


def test_traces_of_a_trained_model_have_a_scale_of_their_own(tmp_path, shown):
    def arrays(i):
        own = recording(i)
        if i == 2:
            lower = [each | {"e": each["e"] - 20} for each in (own.values, own.exact)]
            own = own._replace(values=lower[0], exact=lower[1], of_steps=False)
        return mixing_views.traces(own)

    chain_views.traces(tmp_path / "t.png", parts_of(arrays), None, {}, TITLE)
    assert collisions(shown[0]) == []
    one, other, model = (ax.get_ylim() for ax in np.reshape(shown[0].axes, (3, 2))[:, 0])
    assert one == other
    assert model[1] < one[0]
    words = texts(shown[0])
    assert words.count("free energy a bit (nats)") == 1
    assert "exact mean; of a trained model that of its exact samples" in words


def test_autocorrelations(tmp_path, shown):
    parts = parts_of(lambda i: mixing_views.autocorrelations(recording(i, frozen=i == 2)))
    chain_views.autocorrelation(tmp_path / "a.png", parts, None, {}, TITLE)
    opened(tmp_path / "a.png")
    assert collisions(shown[0]) == []
    words = texts(shown[0])
    # Of m and of |m|.
    assert words.count("SWENDSEN_WANG: stuck: no chain moves") == 2
    assert sum(", exact 3" in text for text in words) == 3
    assert sum("(?)" in text and "GIBBS" in text for text in words) == 2
    energy = shown[0].axes[0]
    assert sum(np.array_equal(line.get_ydata(), 0.5 ** np.arange(30)) for line in energy.lines) == 3


@pytest.mark.parametrize(("value", "error", "said"), [
    (987.4, 351.0, "990 ± 350"),
    (30.91, 4.3, "30.9 ± 4.3"),
    (1.0131, 0.0293, "1.013 ± 0.029"),
    (12.34, 0.996, "12.3 ± 1.0"),
    (1130, 99.6, "1130 ± 100"),
])  # fmt: skip
def test_an_error_has_two_digits(value, error, said):
    assert chain_views._with_error(value, error) == said


def test_mixing(tmp_path, shown):
    parts = parts_of(lambda i: mixing_views.courses(recording(i, frozen=i == 2)))
    chain_views.mixing(tmp_path / "m.png", parts, None, {"kld": (0.01, 0.005, 0.02)}, TITLE)
    opened(tmp_path / "m.png")
    assert collisions(shown[0]) == []
    left, _, right = shown[0].axes
    # One of its scores is 0 by chance.
    assert left.get_ylim()[0] == pytest.approx(0.0005)
    assert [text.get_text() for text in right.texts].count("stuck") == 2


@pytest.mark.parametrize("side", [4, 16])
def test_averages_against_temperature(tmp_path, side, shown):
    t = np.array(lattice_scans.TEMPERATURES)
    names = ("e", "|m|", "C", "χ")
    parts = parts_of(lambda i: {"T": t, "side": [side, side], **{name: [t + i, 0.1 * t] for name in names}})
    ising_views.temperature(tmp_path / "t.png", parts, None, {}, TITLE)
    opened(tmp_path / "t.png")
    assert collisions(shown[0]) == []
    size, energy, capacity, susceptibility = shown[0].axes
    solid = [[line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 200]
             for ax in (energy, capacity, size, susceptibility)]  # fmt: skip
    known = [ising.energy_and_heat_capacity(side, side, 1 / t) for t in solid[0][0].get_xdata()]
    for (line,), exact in zip(solid[:2], np.transpose(known) / side**2, strict=True):
        np.testing.assert_allclose(line.get_ydata(), exact, rtol=1e-6)
    words = texts(shown[0])
    if side == 4:
        at_critical = np.interp(1 / 0.4406868, solid[2][0].get_xdata(), solid[2][0].get_ydata())
        assert at_critical == pytest.approx(0.843860, abs=1e-3)
        assert "exact, 4 × 4 (all states)" in words
        assert not any("no exact curve" in text for text in words)
    else:
        assert solid[2:] == [[], []]
        assert words.count("no exact curve of 16 × 16 sites is known") == 2
        assert "exact, 16 × 16 (Kaufman)" in words


def test_slowing_down(tmp_path, shown):
    side = np.array(lattice_scans.SIZES, float)

    def arrays(i):
        tau = 0.2 / (1 + i) * side ** (2.0 if i < 2 else 0.3)
        return {"tau": np.stack([side, tau, 0.02 * tau, 0 * side, side < 20])}

    ising_views.slowing(tmp_path / "s.png", parts_of(arrays), None, {}, TITLE)
    opened(tmp_path / "s.png")
    assert collisions(shown[0]) == []
    words = texts(shown[0])
    assert any(text.startswith("GIBBS: z = 2.00 ± ") for text in words)
    assert any(text.startswith("SWENDSEN_WANG: z = 0.30 ± ") for text in words)
    # The largest lattice of every family has chains that are too short.
    assert words.count("?") == 3


def test_states(tmp_path, shown):
    generator = np.random.default_rng(0)
    states = (generator.random((3, 64, 64)) < 0.5).astype(np.float32)
    shared = {"states": states, "T": np.array(lattice_scans.SHOWN), "sweeps": np.array(300)}
    ising_views.states(tmp_path / "s.png", parts_of(lambda i: shared), None, {}, TITLE)
    opened(tmp_path / "s.png")
    assert collisions(shown[0]) == []
    m = f"{2 * states[1].mean() - 1:+.2f}".replace("-", "−")
    assert sum(text.endswith(f"at T_c · m = {m}") for text in texts(shown[0])) == 3
