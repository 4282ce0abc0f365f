"""What a picture is called with: each family's own, and those that several families share."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked.config import from_constants
from benchmark.engine.records import Cost, Evaluation, Run
from benchmark.files import results
from benchmark.pictures import context, own_views, pictures, reading
from benchmark.scoring import assessment
from benchmark.scoring.outcome import Outcome
from core.captions import Caption
from core.drawing import scenes
from kinds.contract import Picture, Showing
from kinds.real.cells import score_cells
from kinds.real.judging import make_judge
from kinds.real.scene import scene_of
from kinds.registry import KINDS
from models import MODELS
from models.base import Model, View
from targets import make_target

STEPS = (0, 4, 8)
CONFIG = dataclasses.replace(
    from_constants(vars(script)), target_type="1D_BIMODAL", num_bins=6, n_steps=8, n_evaluations=2, snapshot_percent=50,
    num_seeds=3, n_eval_samples=64, evaluation_spacing="linear",
)  # fmt: skip
drawn: list[tuple] = []


def draw_together(*args):
    """Stands for a module's function that draws a kind."""
    drawn.append(args)


def run_of(name, target, views, lost=(None, None, None)):
    """A training whose seeds have the states 0, 1 and 2; seed 0 is the middle one by KLD. Those lost are so at once."""
    model = Model(name, 10, 2, *[None] * 5, views=views)
    rows = np.asarray(target.sample(jax.random.key(1), 64))
    evaluations = []
    for step in STEPS:
        gone = np.array([step > 0 and at is not None for at in lost])
        kld = np.where(gone, np.nan, np.array([0.3, 0.5, 0.2]) + 0.01 * (8 - step))
        info = {"loss": kld + 1, "estimate": kld + len(name)} if step else None
        all_rows, kept = (np.stack([each] * len(lost)) for each in (rows, make_judge(target, CONFIG).scorer.kept(rows)))
        own = {"kld": kld, "wasserstein": 2 * kld}
        evaluations.append(Evaluation(step, own, info, kept, all_rows if step == STEPS[-1] else None))
    return Run(model, [np.float32(seed) for seed in range(len(lost))], evaluations, [*lost], 1.0, 1.0, 0.1)


@pytest.fixture(scope="module")
def judge():
    """What all tests here are scored by."""
    return make_judge(make_target(CONFIG), CONFIG)


@pytest.fixture
def calls_of(judge, tmp_path, monkeypatch):
    """Makes runs of these views (and steps at which seeds are lost), and all their drawings by file name."""
    monkeypatch.setitem(KINDS["bins"].views, "bounds", Showing("test_pictures.draw_together"))
    config, target = CONFIG, make_target(CONFIG)

    def make(**views):
        # Colours go by the registry.
        monkeypatch.setattr(context, "MODELS", dict.fromkeys(views))
        runs = [run_of(name, target, *own if isinstance(own, tuple) else (own,)) for name, own in views.items()]
        assessments = assessment.assess(runs, [], target, judge, {})
        costs = {run.model.name: results.cost_of(run, Cost(1e6, 16, 2**20), 64) for run in runs}
        outcome = Outcome(config, target, judge, runs, assessments, costs)
        grid = outcome.kind.sensitivity(assessment.scored(assessments), config, target, judge)
        calls = [*pictures.drawings(tmp_path, outcome, grid), *pictures.closing_drawings(tmp_path, outcome)]
        return runs, {call.args[0].name: call for call in calls}

    return make


def test_families_share_a_picture_that_both_name(calls_of, judge):
    shared = {"both": View("bounds", lambda state: {"level": 10 + state}, ("estimate",))}
    with_rows = {"both": View("bounds", lambda state, rows: {"rows": rows}, needs_rows=True)}
    runs, calls = calls_of(ONE=shared, OTHER=with_rows, THIRD={})
    names = pictures.names(CONFIG, runs, KINDS["bins"])
    assert names.count("both.png") == 1
    assert "both.png" in calls
    _, parts, scene, floors, title = calls["both.png"].args
    pictures.draw(calls["both.png"])
    assert drawn.pop() is not None
    assert title.startswith("ONE and OTHER · 1D_BIMODAL · 6 bins")
    assert [*parts] == ["ONE", "OTHER"]
    assert scene.name == "1D_BIMODAL"
    assert floors["kld"][0] == judge.floors["kld"].median
    one, other = parts.values()
    # The middle seed's, of which there is one value.
    assert one.arrays == {"level": 10}
    colours = scenes.family_colours(["ONE", "OTHER", "THIRD"])
    assert [one.colour, other.colour] == [colours["ONE"], colours["OTHER"]]
    assert [*one.curves] == ["estimate"]
    np.testing.assert_array_equal(one.curves["estimate"].steps, [4, 8])
    np.testing.assert_allclose(one.curves["estimate"].values[0], [3.34, 3.3])
    assert other.curves == {}
    np.testing.assert_array_equal(other.scores["wasserstein"].steps, STEPS)
    np.testing.assert_allclose(other.scores["wasserstein"].values[1], [1.16, 1.08, 1.0])
    # The same events for whoever asks, such as the families have seen.
    np.testing.assert_array_equal(other.arrays["rows"], own_views.view_rows(CONFIG, make_target(CONFIG)))
    assert other.arrays["rows"].shape == (scenes.N_VIEW_ROWS, 6)
    # A field that a view shows is not among the losses.
    losses = calls[pictures.LOSSES].args[1]
    assert [[*of.curves] for of in losses.values()] == [["loss"], ["loss", "estimate"], ["loss", "estimate"]]


def test_the_dashboards_axes_say_what_the_judge_measures(calls_of, judge):
    _, calls = calls_of(ONE={})
    assert {name: axis.label for name, axis in calls[pictures.DASHBOARD].args[2].items()} == judge.labels
    assert judge.labels == {"kld": "KLD (nats)", "wasserstein": "W₁ (units of x)"}
    config = dataclasses.replace(CONFIG, target_type="2D_GMM", num_bins=0)
    plane = make_judge(make_target(config), config)
    assert plane.labels["wasserstein"] == "sliced W₁ (units of x)"


def test_nothing_is_shown_of_weights_that_have_diverged(calls_of):
    view = {"both": View("bounds", lambda state: {"level": np.arange(2) + int(state)}, ("estimate",))}
    _, calls = calls_of(ONE=view, OTHER=(view, (1, None, 1)))
    _, parts, *_, title = calls["both.png"].args
    assert [part.diverged for part in parts.values()] == [False, True]
    np.testing.assert_array_equal(parts["ONE"].arrays["level"], [0, 1])
    np.testing.assert_array_equal(parts["OTHER"].arrays["level"], [np.nan, np.nan])
    assert title.endswith(" · the middle seed of ONE · OTHER diverged at step 1")


def test_pictures_of_curves_alone_need_no_arrays(calls_of):
    _, calls = calls_of(ONE={"one": View("bounds", info_fields=("estimate",))})
    (part,) = calls["one.png"].args[1].values()
    assert part.arrays == {}
    assert [*part.curves] == ["estimate"]
    assert calls["one.png"].args[-1].startswith("ONE · ")


def test_what_the_kind_does_not_draw_is_not_promised_and_stays_among_the_losses(calls_of):
    runs, calls = calls_of(ONE={"one": View("unheard of", lambda state: {"level": state}, ("estimate",))})
    assert "one.png" not in pictures.names(CONFIG, runs, KINDS["bins"])
    assert "one.png" not in calls
    assert [*calls[pictures.LOSSES].args[1]["ONE"].curves] == ["loss", "estimate"]


@pytest.mark.parametrize("kinds", [("bounds", "energy"), ("energy", "energy")])
def test_only_the_same_shared_kind_can_be_shared(calls_of, kinds):
    first, second = ({"both": View(kind, lambda state: {"energy": state})} for kind in kinds)
    with pytest.raises(ValueError, match="ONE and OTHER cannot share the picture 'both'"):
        calls_of(ONE=first, OTHER=second)


def test_a_kinds_own_pictures_show_the_middle_seed_of_every_entry(calls_of, judge, monkeypatch):
    asked = []

    def arguments(ending):
        asked.append(ending)
        return (len(ending.entries),)

    own = {"own.png": Picture("test_pictures.draw_together", arguments, Caption("Own", "A sentence."))}
    monkeypatch.setitem(KINDS, "bins", KINDS["bins"]._replace(pictures=own))
    runs, calls = calls_of(ONE={}, OTHER=({}, (2, None, 2)))
    assert pictures.names(CONFIG, runs, KINDS["bins"]).count("own.png") == 1
    # What comes from elsewhere alone has them as well.
    assert pictures.names(CONFIG, [], KINDS["bins"]) == [pictures.HISTOGRAM, "own.png", pictures.SENSITIVITY]
    path, n_entries, title = calls["own.png"].args
    assert (path.name, n_entries) == ("own.png", 2)
    assert title == calls[pictures.DASHBOARD].args[-1] + " · the middle seed"
    (ending,) = asked
    one, other = ending.entries
    # Seed 0 is the middle one; the other family's has diverged.
    np.testing.assert_array_equal(one.x, runs[0].evaluations[-1].samples[0])
    assert (one.name, one.diverged, one.log_q, one.masses) == ("ONE", False, None, None)
    assert (other.x, other.log_q, other.diverged) == (None, None, True)
    assert ending.floors["kld"] == judge.floors["kld"]
    assert ending.target.name == "1D_BIMODAL"
    assert not reading.is_own_view("own.png")


@pytest.mark.parametrize(("name", "n"), [("2D_GMM", 100), ("2D_GRID", 400), ("2D_CHECKERBOARD", 400)])
def test_the_density_is_drawn_as_finely_as_it_varies(name, n):
    config = dataclasses.replace(CONFIG, target_type=name, num_bins=0)
    target = make_target(config)
    masses = target.truth.cell_masses(score_cells(target.truth, 0))
    scene = scene_of(target, SimpleNamespace(masses=masses), config)
    assert [len(axis) for axis in scene.density_axes] == [n, n]
    # What families' views are known at stays what it is.
    assert [len(axis) for axis in scene.axes] == [100, 100]
    steps = [axis[1] - axis[0] for axis in scene.density_axes]
    # The checkerboard's edges cut the outermost points' cells; its 160 lines of cells an axis are off by half of one.
    assert scene.density.sum() * np.prod(steps) == pytest.approx(1, abs=0.02)


def test_a_title_names_every_familys_own_parameters_and_what_is_not_at_its_default(calls_of):
    _, calls = calls_of(ONE={}, OTHER={})
    title = calls[pictures.DASHBOARD].args[-1]
    # As many as fit; a run's size and where it writes are no settings of it.
    assert title == (
        "1D_BIMODAL · 6 bins · parameters: ONE 10, OTHER 10 · 3 seeds · N_STEPS = 8 · N_EVALUATIONS = 2 · "
        "EVALUATION_SPACING = linear · N_EVAL_SAMPLES = 64"
    )


def test_a_view_of_something_else_is_not_titled_with_the_targets_own_size(calls_of, monkeypatch):
    showing = Showing("test_pictures.draw_together", instead="five sizes")
    monkeypatch.setitem(KINDS["bins"].views, "bounds", showing)
    view = {"both": View("bounds", lambda state: {"level": 10 + state})}
    _, calls = calls_of(ONE=view, OTHER=view, THIRD=view)
    title = calls["both.png"].args[-1]
    assert title.startswith("ONE, OTHER and THIRD · 1D_BIMODAL · five sizes · parameters: ONE 10")
    assert "6 bins" not in title


def test_a_title_says_nothing_of_parameters_where_nobody_has_any(calls_of):
    runs, _ = calls_of(ONE={}, OTHER={})
    without = [run._replace(model=run.model._replace(n_params=0)) for run in runs]
    target = make_target(CONFIG)
    assert context.title(CONFIG, target, without).startswith("1D_BIMODAL · 6 bins · 3 seeds")
    assert context.title(CONFIG, target, [without[0]]).startswith("1D_BIMODAL · 6 bins · 3 seeds")
    assert "ONE 0, OTHER 10" in context.title(CONFIG, target, [without[0], runs[1]])


def test_what_differs_from_its_default_is_named_where_it_has_an_effect():
    default = from_constants(vars(script))
    assert context.own_settings(default, MODELS) == []
    gan, kde = dataclasses.replace(default.gan, learning_rate=0.01), dataclasses.replace(default.kde, bandwidth=0.5)
    changed = dataclasses.replace(
        default, seed=7, gan=gan, kde=kde, out_dir="elsewhere", snapshot_percent=10, num_seeds=1, kld_epsilon=1e-3
    )
    # KDE is not among the families.
    assert context.own_settings(changed, default.models) == [
        "SEED = 7",
        "KLD_EPSILON = 0.001",
        "GAN.learning_rate = 0.01",
    ]
    long = dataclasses.replace(default, mixture_weights=(0.1,) * 10, mixture_means=((0.0, 0.0),) * 10)
    assert all(len(words) < 60 for words in context.own_settings(long, ()))


def exact_run(values, at, steps=(0, 4, 8)):
    """A training with these exact divergences [S][E]."""
    evaluations = [
        Evaluation(step, {"kld": np.ones(len(values)), "kl_exact": np.array(column)}, None, None)
        for step, column in zip(steps, np.array(values, float).T, strict=True)
    ]
    return Run(Model("ONE", 10, 2, *[None] * 5), [], evaluations, at, 1.0, 1.0, 0.1)


@pytest.mark.parametrize(
    ("values", "at", "final", "steps", "expected"),
    [
        ([[3, 2, 1], [4, 3, 2]], [None, None], None, [0, 4, 8], [[3, 2, 1], [4, 3, 2]]),
        # The value of the end is that of the report.
        ([[3, 2, 1], [4, 3, 2]], [None, None], [0.5, 0.7], [0, 4, 8], [[3, 2, 0.5], [4, 3, 0.7]]),
        # What is not known of every seed is left out, unless that one has diverged.
        ([[3, np.nan, 1], [4, 3, 2]], [None, None], None, [0, 8], [[3, 1], [4, 2]]),
        ([[3, np.nan, np.nan], [4, 3, 2]], [2, None], None, [0, 4, 8], [[3, np.nan, np.nan], [4, 3, 2]]),
        ([[np.nan] * 3] * 2, [None, None], [0.5, 0.7], [8], [[0.5], [0.7]]),
        ([[3, 2, 1], [4, 3, 2]], [None, None], [0.5, np.nan], [0, 4, 8], [[3, 2, 1], [4, 3, 2]]),
        ([[np.nan] * 3] * 2, [None, None], None, None, None),
        ([[3, np.nan, np.nan]] * 2, [1, 1], [np.nan] * 2, [0], [[3], [3]]),
    ],
)
def test_the_course_of_the_exact_divergence_joins_what_is_known(judge, values, at, final, steps, expected):
    run, target = exact_run(values, at), make_target(CONFIG)
    scorer = judge.scorer._replace(exact_metrics=("kl_exact",), exact=lambda model, state: {})
    entry = SimpleNamespace(name="ONE", external=False, scores={"kl_exact": final})
    outcome = Outcome(CONFIG, target, judge._replace(scorer=scorer), [run], [entry], {})
    shown = context.Shown(outcome._replace(assessments=[]), "")
    shown.outcome = outcome
    curve = shown.exact_curve(run)
    if expected is None:
        assert curve is None
        return
    np.testing.assert_array_equal(curve.steps, steps)
    np.testing.assert_array_equal(curve.values, expected)


def test_panels_that_look_the_same_are_drawn_once():
    values = np.array([[1.0, 1.001, 1.0, 2.0], [5.0, 5.0, 5.0, 6.0]])
    assert pictures._alike([values], (1e-12, 1e-10, 1e-6, 1e-3), 1e-10) == [[1, 0, 2], [3]]
    other = np.array([[1.0, 1.0, 1.5, 1.0]])
    assert pictures._alike([values, other], (1e-12, 1e-10, 1e-6, 1e-3), 1e-10) == [[1, 0], [2], [3]]
    # What is known nowhere looks the same everywhere; the chosen ε need not be among them.
    assert pictures._alike([np.full((1, 2), np.nan)], (1e-3, 1e-2), 1e-10) == [[0, 1]]


@pytest.mark.parametrize(
    ("n_seeds", "words"),
    [(1, ""), (2, " · the better of both seeds"), (3, " · the middle seed"),
     (4, " · the better of the two middle seeds")],
)  # fmt: skip
def test_a_title_says_which_seed_is_shown(n_seeds, words):
    assert context.middle_words(n_seeds) == words
