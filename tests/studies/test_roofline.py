"""The roofline: shares of known rates, counts that two ways of counting agree on, the table and the picture."""

import math

import pytest

from studies.speed import roofline, roofline_chart, roofline_worker, roofs
from studies.speed.work import WORKS

COUNTS = {
    "operations": 8e6,
    "kernel_bytes": 2e6,
    "exponentials": 1e5,
    "random_bits": 4e6,
    "memory_bytes": None,
    "product_operations": 5e6,
}
MACHINE = {"product": 4e11, "memory": 5e10, "cache": 4e11, "random": 5e10, "exponentials": 5e9}
TIMED = {**MACHINE, "thin": 2e11, "step": 1e4}


def test_shares_of_known_rates():
    found = roofs.shares(COUNTS, 1e4, TIMED)
    # What a step takes, times 10⁴ steps a second, over the roof; of memory nothing is known.
    expected = {"product": 0.2, "cache": 0.05, "random": 0.8, "exponentials": 0.2, "thin": 0.25, "sum": 1.25}
    assert found == pytest.approx(expected, rel=1e-12)
    # A family whose own products were not timed has no sum.
    without = roofs.shares(COUNTS | {"product_operations": None}, 1e4, MACHINE)
    assert without == pytest.approx({name: expected[name] for name in without}, rel=1e-12)
    assert set(without) == {"product", "cache", "random", "exponentials"}


@pytest.mark.parametrize("name", WORKS)
def test_counts_of_an_rbm_agree_with_the_compilers(name):
    config, model, feed = roofline_worker.built("RBM", name)
    counts = roofline_worker.counts(config, model, feed)
    assert counts.random_bits == 32 * config.batch_size * (model.width + (1 if config.num_bins else 2))
    # What are not products are some ten to thirty operations a hidden unit and row; where there are few of these, the
    # draws of a bin, which sum 20 probabilities up by a product of their own, are as much again.
    others = counts.operations - counts.product_operations
    assert 10 < others / (model.width * config.batch_size) < 60
    # A sigmoid and a softplus of data and of chains, unless these share an exponential; in bins the softmax too.
    assert 2 <= counts.exponentials / (model.width * config.batch_size) < 4.2 + 3 * 20 / model.width
    if name == "large":
        assert counts.memory_bytes == 4 * model.n_params * 16
    else:
        assert counts.memory_bytes is None


def synthetic():
    """Results of every step, all alike, but for what only an RBM has."""
    points = {}
    for name, family in ((name, family) for name in WORKS for family in roofs.FAMILIES):
        counts = COUNTS if family == "RBM" else COUNTS | {"product_operations": None}
        timed = TIMED if family == "RBM" else {way: rate for way, rate in TIMED.items() if way != "thin"}
        rounds = [{**timed, "step": rate} for rate in (1e4, 2e4, 4e4)]
        shares = [roofs.shares(counts, row["step"], row) for row in rounds]
        points.setdefault(name, {})[family] = {"counts": counts, "rounds": rounds, "shares": shares}
    return {"machine": "a machine", "points": points}


def test_table_and_picture_of_known_results(tmp_path):
    results = synthetic()
    assert roofs.roofs_of(results) == MACHINE
    lines = roofline.markdown(results).splitlines()
    # The middle one of three rounds: 2·10⁴ steps a second.
    assert lines[2].endswith("| GAN | 50 µs | 160 | 4 | 40 | 10 | – | 160 | 40 | – | – |")
    assert lines[4].endswith("| RBM | 50 µs | 160 | 4 | 40 | 10 | – | 160 | 40 | 50 | 250 |")
    assert "400 Gflop/s" in lines[-1]
    roofline_chart.draw(tmp_path / "all.png", results)
    # A run of one family and one work.
    results["points"] = {"small": {"GAN": results["points"]["small"]["GAN"]}}
    roofline_chart.draw(tmp_path / "one.png", results)
    assert min((tmp_path / name).stat().st_size for name in ("all.png", "one.png")) > 10_000


def test_thin_products_are_counted_by_their_shapes():
    config, model, _ = roofline_worker.built("RBM", "binned")
    run, units = roofline_worker.thin(config, model)
    run(1)
    repeats, rest = divmod(units, 6 * 20 * model.width * 128)
    assert rest == 0
    assert math.isclose(repeats * 6 * 20 * model.width * 128, 4e9, rel_tol=0.01)
