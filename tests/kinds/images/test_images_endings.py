"""Pictures, tables and numbers of the end of a run on images: what they show, against exact answers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from conftest import small_config
from PIL import Image

import generative_models_GAN_VAE_RBM_benchmarks as script
from core.drawing.scenes import Curve
from kinds.contract import Ended
from kinds.images import anomalies, endings, inversion, judging, likelihoods, mosaics, stability
from kinds.images.kind import KIND
from kinds.images.pictured import scene_of
from models import build, likelihood
from targets import make_target

RNG = np.random.default_rng(0)


def test_the_area_is_that_of_the_curve_and_its_interval_covers_it():
    for n, m, shift in ((40, 60, 0.8), (30, 20, 0.0), (25, 25, 5.0)):
        normal, anomalous = RNG.normal(size=n).round(1), (RNG.normal(size=m) + shift).round(1)
        area, low, high = anomalies.auroc(normal, anomalous)
        labels = np.repeat([0, 1], [n, m])
        expected = sklearn.metrics.roc_auc_score(labels, np.concatenate([normal, anomalous]))
        assert area == pytest.approx(expected, abs=1e-12)
        assert low <= area <= high


def test_nine_in_ten_intervals_and_more_hold_the_true_area():
    inside = 0
    for i in range(200):
        generator = np.random.default_rng(i)
        _, low, high = anomalies.auroc(generator.normal(size=80), generator.normal(size=80) + 1)
        # P(x + 1 > y) of two normal variables: Φ(1/√2).
        inside += low <= 0.76025 <= high
    assert inside > 180


def of_courses(values, steps=None):
    values = np.asarray(values, float)
    curve = Curve(np.arange(values.shape[1]) if steps is None else steps, values)
    (found,) = stability.of_courses([Ended("GAN", "#000000", courses={"loss": curve})])
    return found


def test_steadiness_of_courses_that_are_known():
    falling = of_courses([np.linspace(3, 1, 9)])
    assert (falling.range[0], falling.oscillation[0], falling.trend[0]) == pytest.approx((2, 0, -1))
    # Up and down, and back: it has moved 8, and is where it was.
    swinging = of_courses([[0, 1, 0, 1, 0, 1, 0, 1, 0]])
    assert (swinging.range[0], swinging.oscillation[0]) == pytest.approx((1, 1))
    # Three steps up and one down: 1 − 2/4.
    assert of_courses([[0, 1, 2, 3, 2]]).oscillation[0] == pytest.approx(0.5)
    still = of_courses([[2, 2, 2]])
    assert (still.range[0], still.oscillation[0], still.trend[0]) == (0, 0, 0)
    lost = of_courses([[1, 2, np.nan], [3, 2, 1]])
    assert np.isnan(lost.trend[0])
    assert lost.trend[1] == -1
    assert stability.rows_of([lost])[0]["range"] == "2"


def test_a_mosaic_has_every_image_at_its_place():
    rows = RNG.random((5, 6 * 4)).astype(np.float32)
    sheet = mosaics.mosaic(rows, (6, 4, 1), 3)
    assert sheet.shape == (13, 14, 3)
    for i in range(5):
        top, left = i // 3 * 7, i % 3 * 5
        expected = np.round(255 * rows[i].reshape(6, 4)).astype(np.uint8)
        for channel in range(3):
            np.testing.assert_array_equal(sheet[top : top + 6, left : left + 4, channel], expected)
    assert np.all(sheet[6] == 255)


def test_depth_stands_on_the_right_of_its_colours():
    rows = np.zeros((1, 2 * 2 * 4), np.float32)
    rows[0, 0::4], rows[0, 3::4] = 1, 1  # red, and as far as can be
    sheet = mosaics.mosaic(rows, (2, 2, 4), 1)
    assert sheet.shape == (2, 5, 3)
    assert np.all(sheet[:, :2] == [255, 0, 0])
    assert np.all(sheet[:, 3:] == [253, 231, 37])  # the end of viridis


def trained(name, target, config, n_steps=400):
    """A family after a short training, and its State."""
    model = build(name, config, target)
    rows = jnp.asarray(target.train_rows)

    @jax.jit
    def train():
        def step(state, key):
            batch = rows[jax.random.randint(key, (config.batch_size,), 0, len(rows))]
            return model.step(state, batch, model.noise(key))[0], None

        state = model.init(jax.random.key(0), rows)
        return jax.lax.scan(step, state, jax.random.split(jax.random.key(1), n_steps))[0]

    return model, train()


@pytest.fixture(scope="module")
def run():
    """Digits without 0 and 1, learnt by a VAE and a GAN."""
    config = small_config(
        target_type="IMAGE_DIGITS", num_bins=0, parameter_budget=6_000, batch_size=64, hidden_layers=1,
        images=KIND.settings(anomaly_labels=(0, 1)),
    )  # fmt: skip
    target = make_target(config)
    judge = judging.make_judge(target, config)
    entries = []
    for name, colour in (("GAN", "#0072B2"), ("VAE", "#D55E00")):
        model, state = trained(name, target, config)
        x = np.asarray(model.sample(jax.random.key(3), state, 539))
        courses = {"loss": Curve(np.arange(3), np.array([[3.0, 2.0, 1.0]]))}
        # At the end of a run weights are on the host.
        entries.append(Ended(name, colour, x, model=model, state=jax.device_get(state), courses=courses))
    entries.append(Ended("WGAN", "#009E73", None, diverged=True))
    entries.append(Ended("OTHERS", "#CC79A7", target.held_out_rows[:100]))
    return endings.Ending(target, judge.floors, entries, config, judge)


def test_a_descent_finds_what_the_generator_has_made(run):
    gan = run.entries[0]
    z = jax.random.normal(jax.random.key(9), (20, gan.model.latent_dim))
    made = np.asarray(gan.model.decode(gan.state, z))
    reference = run.judge.compared
    images, scores = inversion.nearest_images(gan.model, gan.state, made, reference.features)
    assert images.shape == made.shape
    other = np.asarray(gan.model.decode(gan.state, jnp.zeros_like(z)))
    apart = np.asarray(inversion.score(jnp.asarray(made), jnp.asarray(other), reference.features))
    # It comes much nearer than the middle of z, which is no answer.
    assert np.median(scores) < 0.3 * np.median(apart)
    again = inversion.score(jnp.asarray(made), jnp.asarray(images), reference.features)
    np.testing.assert_allclose(again, scores, rtol=1e-4, atol=1e-3)


def test_the_score_is_its_formula(run):
    found = run.judge.compared.features
    x, y = run.target.held_out_rows[:4], run.target.train_rows[:4]
    expected = 0.9 * np.abs(x - y).sum(1) + 0.1 * np.abs(found.of(x) - found.of(y)).sum(1)
    np.testing.assert_allclose(inversion.score(jnp.asarray(x), jnp.asarray(y), found), expected, rtol=1e-4)


def test_codes_lead_to_images_and_back(run):
    vae = run.entries[1]
    x = jnp.asarray(run.target.held_out_rows[:8])
    code = vae.model.encode(vae.state, x)
    assert code.shape == (8, vae.model.latent_dim)
    np.testing.assert_allclose(vae.model.decode(vae.state, code), vae.model.reconstruct(vae.state, x), rtol=1e-5)
    gan = run.entries[0]
    assert gan.model.encode is gan.model.reconstruct is None


def test_ways_of_finding_anomalies(run):
    found = anomalies.find(run)
    named = {(each.name, each.how): each for each in found.found}
    assert {name for name, _ in named} == {"GAN", "VAE", *anomalies.BASELINES}
    assert ("GAN", "to its nearest image") in named
    assert ("VAE", "lost by its code") in named
    vae, bound = run.entries[1], named["VAE", "−bound of ln q"]
    own = -vae.model.bound(jax.random.key(0), vae.state, jnp.asarray(found.rows))
    np.testing.assert_allclose(np.concatenate([bound.normal, bound.anomalous]), own, rtol=1e-5)
    for each in found.found:
        assert 0 <= each.low <= each.auroc <= each.high <= 1
        assert (len(each.normal), len(each.anomalous)) == (250, 250)
    # Zeros and ones are far from all other digits: chance has 0.5, and five deviations of it are below 0.65.
    assert named["nearest row", "L₂ to it"].auroc > 0.8
    held_out = {row.tobytes() for row in run.target.held_out_rows}
    assert {row.tobytes() for row in found.rows[:250]} <= held_out
    assert {row.tobytes() for row in found.rows[250:]} <= {row.tobytes() for row in run.target.truth.anomalies}
    assert anomalies.find(run._replace(target=run.target._replace(
        truth=run.target.truth._replace(anomalies=None)))) is None  # fmt: skip


def test_likelihoods_are_of_bits_or_of_grey_levels(run, monkeypatch):
    config, target = run.config, run.target
    entries = []
    for name in ("PRODUCT", "PPCA", "BERNOULLI_MIXTURE"):
        model = build(name, config, target)
        entries.append(Ended(name, "#000000", model=model, state=model.init(jax.random.key(0), target.train_rows)))
    asked = {}

    def told(model, state, rows, key):
        asked[model.name] = rows
        return likelihood.held_out(model, state, rows, key)

    monkeypatch.setattr(likelihoods, "held_out", told)
    known = likelihoods.find(run._replace(entries=[*entries, *run.entries]))
    # Every pixel is a coin with its grey level as the chance, and a density is asked for the grey level itself.
    grey = run.judge.compared.rows
    assert set(np.unique(asked["VAE"])) == {0, 1}
    np.testing.assert_array_equal(asked["PPCA"], grey)
    apart = (asked["VAE"] - grey).sum() / np.sqrt((grey * (1 - grey)).sum())
    assert abs(apart) < 5
    np.testing.assert_array_equal(asked["VAE"][grey == 1], 1)
    found = {each.family: each for each in known}
    assert set(found) == {"PRODUCT", "PPCA", "BERNOULLI_MIXTURE", "VAE"}
    assert {each.n for each in known} == {len(run.judge.compared.rows)}
    product = found["PRODUCT"].found
    assert (product.how, product.is_density) == ("exact", False)
    # The pixels are independent, so that drawing bits with the chances x has the mean Σ x ln p + (1 − x) ln(1 − p).
    x, p = run.judge.compared.rows.astype(np.float64), target.train_rows.astype(np.float64)
    shown = np.clip((p.sum(0) + 0.5) / (len(p) + 1), 1e-12, 1)
    each = x @ np.log(shown) + (1 - x) @ np.log1p(-shown)
    noise = np.sqrt((x * (1 - x) @ (np.log(shown) - np.log1p(-shown)) ** 2).sum()) / len(x)
    assert product.nats == pytest.approx(each.mean(), abs=5 * noise)
    assert product.bits_per_dimension == pytest.approx(-product.nats / (64 * np.log(2)))
    assert found["PPCA"].found.is_density
    assert (found["VAE"].found.how, found["VAE"].found.log_z) == ("lower bound", None)
    # After 400 steps it knows more than that pixels have means.
    assert found["VAE"].found.nats > product.nats
    for each in known:
        assert each.found.low < each.found.nats < each.found.high
    report = likelihoods.report_of(known)
    assert report["PPCA"]["of"] == "density"
    assert report["PRODUCT"]["nats"] == product.nats


def test_ln_z_is_told_both_ways():
    there, back = likelihood.LogZ(-1.0, -2.0, 0.5, 20.0), likelihood.LogZ(-0.5, -1.0, 0.0, 30.0)
    found = likelihood.Likelihood(-3.0, -4.0, -2.0, "estimate", False, 0.1, (there, back))
    known = [likelihoods.Known("RBM", 7, found)]
    (row,) = likelihoods.rows_of(known)
    assert row["ln Z, there and back"] == "−1.00, −0.50 (worth 20 and 30 chains)"
    assert likelihoods.report_of(known)["RBM"]["log_z"]["reversed"]["effective"] == 30


def test_sheets_have_what_they_say(run):
    (samples,) = endings.samples_of(run)
    assert [strip.name for strip in samples.strips] == ["training rows", "GAN", "VAE", "WGAN", "OTHERS"]
    assert samples.strips[3].rows is None
    np.testing.assert_array_equal(samples.strips[1].rows, run.entries[0].x[:32])
    (rebuilt,) = endings.reconstructions_of(run)
    assert [strip.name for strip in rebuilt.strips] == ["real images", "GAN", "VAE", "WGAN"]
    (between,) = endings.interpolation_of(run)
    assert [strip.name for strip in between.strips] == ["GAN", "VAE"]
    vae = run.entries[1]
    ends = vae.model.reconstruct(vae.state, jnp.asarray(run.judge.compared.rows[:2]))
    np.testing.assert_allclose(between.strips[1].rows[[0, 15]], ends, rtol=1e-4, atol=1e-6)
    (moved,) = endings.traversal_of(run)
    assert moved.strips[0].rows.shape == (8 * 16, 64)
    (near,) = endings.neighbours_of(run)
    x, rows = near.strips[0].rows[:16], near.strips[0].rows[16:]
    apart = np.linalg.norm(x[:, None] - run.target.train_rows[None], axis=2)
    np.testing.assert_array_equal(rows, run.target.train_rows[apart.argmin(1)])


def test_a_round_way_keeps_its_distance_from_0():
    a, b = RNG.normal(size=(2, 50))
    path = endings._round(a, b, 9)
    np.testing.assert_allclose(path[[0, -1]], [a, b], atol=1e-12)
    lengths = np.linalg.norm(path, axis=1)
    assert lengths.min() > 0.9 * min(np.linalg.norm(a), np.linalg.norm(b))


def test_every_picture_is_drawn(run, tmp_path):
    shared = endings.further(run)
    ending = run._replace(shared=shared.shared)
    assert len(shared.tables) == 4
    assert set(shared.report["likelihoods"]) == {"VAE"}
    assert shared.report["losses"]["GAN"]["loss"]["trend"] == pytest.approx([-1])
    from kinds.images import closing_views

    for name, picture in endings.PICTURES.items():
        draw = getattr(closing_views, picture.function.rpartition(".")[2])
        draw(tmp_path / name, *picture.arguments(ending), "a title")
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 200


def test_the_scene_has_images_that_no_family_has_seen(run):
    scene = scene_of(run.target, run.judge, run.config)
    np.testing.assert_array_equal(scene.rows, run.target.held_out_rows[:64])


def test_a_whole_run_writes_what_it_says(here, capfd):
    command = (
        "--num-bins 0 --target-type IMAGE_DIGITS --parameter-budget 3000 --models VAE --n-steps 20 --n-evaluations 2 "
        "--snapshot-percent 50 --num-seeds 2 --hidden-layers 1 --images.anomaly-labels 3 --n-eval-samples 200 "
        "--out-dir out"
    )
    assert script.main(command.split()) == 0, capfd.readouterr().err
    report = json.loads((here / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert set(report["files"]) >= {*endings.PICTURES, "metrics_comparison.png", "timeline.gif"}
    assert {path.name for path in (here / "out").iterdir()} == set(report["files"])
    final = report["models"]["VAE"]["final"]
    assert set(final) == set(KIND.reported)
    assert report["target"]["anomaly_classes"] == ["3"]
    assert report["target"]["shape"] == [8, 8, 1]
    assert {each["name"] for each in report["further"]["anomalies"]} == {"VAE", *anomalies.BASELINES}
    assert report["further"]["compared"]["n"] == len(np.load(here / "out" / "samples.npz")["VAE"][0])
    page = (here / "out" / "index.html").read_text(encoding="utf-8")
    assert "Steadiness of losses" in page
    assert "Latent traversal" in page
