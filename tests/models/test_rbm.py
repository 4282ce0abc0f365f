"""The RBM against enumeration: everything about a small one can be written down exactly."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from conftest import quick_if

from models import boltzmann, boltzmann_steps, rbm
from models.boltzmann import free_energy
from models.boltzmann_density import log_partition_gaussian
from models.visibles import GAUSSIAN, SOFTMAX
from targets import make_target

LOG_2PI = math.log(2 * math.pi)


def gaussian_params(n_visible=2, n_hidden=4, scale=0.8, seed=0):
    """Random weights, and a σ of its own for every visible unit."""
    draw = np.random.default_rng(seed).normal
    return boltzmann.Params(
        weights=scale * draw(size=(n_visible, n_hidden)),
        visible_bias=draw(size=n_visible),
        hidden_bias=draw(size=n_hidden),
        log_sigma=np.log(np.linspace(0.6, 0.9, n_visible)),
    )


def softmax_params(n_visible=5, n_hidden=4, seed=1):
    draw = np.random.default_rng(seed).normal
    return boltzmann.Params(draw(size=(n_visible, n_hidden)), draw(size=n_visible), draw(size=n_hidden), ())


def on_device(params, dtype=jnp.float32):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)


def states(n_units):
    """Every binary state [2^n, n]."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=n_units)))


def energy_gaussian(params, v, h):
    """E(v, h) of one pair, term by term as the module's docstring has it."""
    variance = np.exp(2 * params.log_sigma)
    return (
        np.sum((v - params.visible_bias) ** 2 / (2 * variance))
        - np.sum(v[:, None] * params.weights * h[None] / variance[:, None])
        - params.hidden_bias @ h
    )


def energy_softmax(params, v, h):
    return -params.visible_bias @ v - v @ params.weights @ h - params.hidden_bias @ h


def mixture(params):
    """The Gaussian RBM's marginal as a mixture: ln of the unnormalised weights [2^H], and the centres [2^H, V].

    b_h·h + Σᵢ ((b_v + W h)ᵢ² − b_vᵢ²)/2σᵢ² is what is left of −E when the square in v is completed.
    """
    h = states(len(params.hidden_bias))
    centres = params.visible_bias + h @ params.weights.T
    variance = np.exp(2 * params.log_sigma)
    return h @ params.hidden_bias + np.sum((centres**2 - params.visible_bias**2) / (2 * variance), axis=-1), centres


def exact_log_partition(params):
    """ln Z: each component of the mixture integrates to its weight times √(2π σ²) a coordinate."""
    return (
        scipy.special.logsumexp(mixture(params)[0]) + np.sum(params.log_sigma) + len(params.visible_bias) / 2 * LOG_2PI
    )


def test_gaussian_free_energy_is_the_sum_over_hidden_states():
    params = gaussian_params()
    rows = np.random.default_rng(2).normal(size=(6, 2)) * 2
    expected = [-scipy.special.logsumexp([-energy_gaussian(params, v, h) for h in states(4)]) for v in rows]
    with jax.enable_x64(True):
        found = free_energy(GAUSSIAN, on_device(params, jnp.float64), jnp.asarray(rows.T))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_softmax_free_energy_is_the_sum_over_hidden_states():
    params = softmax_params()
    expected = [-scipy.special.logsumexp([-energy_softmax(params, v, h) for h in states(4)]) for v in np.eye(5)]
    with jax.enable_x64(True):
        found = free_energy(SOFTMAX, on_device(params, jnp.float64), jnp.eye(5))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def softplus_inputs(n_hidden, dtype):
    """Columns of one value throughout, among them 0, where products are largest (2⁶⁴ a group), and mixed ones."""
    generator = np.random.default_rng(n_hidden)
    columns = [np.full(n_hidden, x) for x in (-100.0, -20.0, -1.0, 0.0, 1e-3, 15.0, 100.0)]
    columns += [generator.uniform(-100, 100, n_hidden), generator.normal(size=n_hidden)]
    return np.stack(columns, axis=-1).astype(dtype)


EVERY_SUM = pytest.mark.parametrize(
    ("n_hidden", "dtype"),
    [
        quick_if(n in (1, 65, 799), n, kind)
        for n, kind in itertools.product((1, 63, 64, 65, 799), ("float32", "float64"))
    ],
)


@EVERY_SUM
def test_sum_of_softpluses(n_hidden, dtype):
    x, ulp = softplus_inputs(n_hidden, dtype), np.finfo(dtype).eps
    expected = [math.fsum(column) for column in np.logaddexp(0, x.astype(np.float64)).T]
    with jax.enable_x64(dtype == "float64"):
        found = boltzmann.sum_softplus(jnp.asarray(x))
        compiled = jax.jit(boltzmann.sum_softplus)(jnp.asarray(x))
    for values in (found, compiled):
        assert values.dtype == dtype
        # A factor and its place in the product round by two units in all, and a relative error of a product is an
        # absolute one of its logarithm. The partial sums of n terms round n times, by half a unit of the sum at most
        # and not all in one direction.
        bound = ulp * (2 * n_hidden + math.sqrt(n_hidden) * np.array(expected))
        np.testing.assert_array_less(np.abs(np.asarray(values, np.float64) - expected), bound)
        # Units that are surely on add just their inputs, and those that are surely off nothing: e^-100 beside 1.
        np.testing.assert_array_equal(values[jnp.array([0, 6])], [0, 100 * n_hidden])


@EVERY_SUM
def test_derivatives_of_the_sum_of_softpluses(n_hidden, dtype):
    x, ulp = softplus_inputs(n_hidden, dtype), np.finfo(dtype).eps
    weights = np.arange(1, x.shape[1] + 1)
    on, off = (scipy.special.expit(sign * x.astype(np.float64)) for sign in (1, -1))

    def weighted(x):
        return jnp.sum(boltzmann.sum_softplus(x) * jnp.asarray(weights, x.dtype))

    with jax.enable_x64(dtype == "float64"):
        on_device = jnp.asarray(x)
        gradient = jax.grad(weighted)(on_device)
        second = jax.grad(lambda x: jnp.sum(jax.grad(weighted)(x)))(on_device)
        tangent = jax.jvp(boltzmann.sum_softplus, (on_device,), (jnp.ones_like(on_device),))[1]
        blocks = jax.hessian(lambda column: boltzmann.sum_softplus(column[:, None])[0])(on_device[:65, -1])
    # The sigmoid, to four roundings; below the smallest normal number a processor may take it for zero.
    tiny = np.finfo(dtype).tiny
    np.testing.assert_allclose(gradient, weights * on, rtol=4 * ulp, atol=weights.max() * tiny)
    # A sum of n positive terms, some columns all alike and so rounded all in one direction: half a unit a term.
    np.testing.assert_allclose(tangent, on.sum(0), rtol=(4 + n_hidden / 2) * ulp, atol=n_hidden * tiny)
    # Its derivative is σ(x) σ(−x), whose second factor is 1 − σ(x) and has the rounding of one.
    np.testing.assert_allclose(second, weights * on * off, rtol=4 * ulp, atol=4 * weights.max() * ulp)
    np.testing.assert_allclose(blocks, np.diag((on * off)[:65, -1]), rtol=4 * ulp, atol=4 * ulp)


def test_conditionals_are_those_of_the_joint():
    gaussian, softmax = gaussian_params(), softmax_params()
    h = states(4)
    v = np.array([0.4, -1.1])
    joint = scipy.special.softmax([-energy_gaussian(gaussian, v, each) for each in h])
    with jax.enable_x64(True):
        logits = boltzmann.hidden_input(GAUSSIAN, on_device(gaussian, jnp.float64), jnp.asarray(v)[:, None])[:, 0]
        np.testing.assert_allclose(scipy.special.expit(logits), joint @ h, rtol=1e-12)
        for each in h[[3, 9]]:
            table = scipy.special.softmax([-energy_softmax(softmax, one, each) for one in np.eye(5)])
            mean = boltzmann.visible_mean(SOFTMAX, on_device(softmax, jnp.float64), jnp.asarray(each)[:, None])[:, 0]
            np.testing.assert_allclose(mean, table, rtol=1e-12)


def test_gaussian_rbm_is_a_mixture_of_gaussians():
    params = gaussian_params(n_hidden=5)
    axis = np.linspace(-4, 4, 17)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_weights, centres = mixture(params)
    each = scipy.stats.norm.logpdf(grid[:, None], centres[None], np.exp(params.log_sigma)).sum(-1)
    expected = scipy.special.logsumexp(each + scipy.special.log_softmax(log_weights), axis=-1)
    with jax.enable_x64(True):
        on64 = on_device(params, jnp.float64)
        log_density = -free_energy(GAUSSIAN, on64, jnp.asarray(grid.T)) - log_partition_gaussian(on64)
        np.testing.assert_allclose(log_density, expected, atol=1e-10)


def test_mixture_weights_are_those_of_the_design():
    # For one σ in all coordinates: exp(b_h·h + (‖b_v + W h‖² − ‖b_v‖²)/2σ²).
    params = gaussian_params()._replace(log_sigma=np.full(2, np.log(0.7)))
    h = states(4)
    norms = np.sum((params.visible_bias + h @ params.weights.T) ** 2, axis=-1) - np.sum(params.visible_bias**2)
    np.testing.assert_allclose(mixture(params)[0], h @ params.hidden_bias + norms / (2 * 0.7**2), rtol=1e-12)


@pytest.mark.parametrize("n_visible", [1, 2])
def test_log_partition_is_exact_and_depends_on_neither_spacing_nor_what_is_left_out(n_visible):
    params = gaussian_params(n_visible, n_hidden=5)
    exact = exact_log_partition(params)
    with jax.enable_x64(True):
        on64 = on_device(params, jnp.float64)
        # A trapezoid rule of spacing d misses a Gaussian by 2 exp(−2π²σ²/d²), 1e-34 at two nodes a σ, and the box eight
        # times 1e-12: what is left is float64's rounding of a sum over at most a few 10⁴ nodes.
        for settings in ({}, {"nodes_per_sigma": 8}, {"left_out": 1e-15}, {"nodes_per_sigma": 2}):
            assert float(log_partition_gaussian(on64, **settings)) == pytest.approx(exact, abs=1e-11)
    # In float32 the same to the rounding of free energies of order 10.
    assert float(log_partition_gaussian(on_device(params))) == pytest.approx(exact, abs=1e-5)


def sufficient_statistics(params, v, hidden, variance):
    """−∂E/∂θ of rows v [n, V] with hidden probabilities [n, H], in the order of the leaves of Params."""
    field = hidden @ params.weights.T
    return [
        (v / variance)[:, :, None] * hidden[:, None, :],
        (v - params.visible_bias) / variance,
        hidden,
        (v - params.visible_bias) ** 2 / variance - 2 * v * field / variance,
    ]


def test_gaussian_likelihood_gradient_is_data_less_model():
    params = gaussian_params()
    rows = np.random.default_rng(2).normal(size=(7, 2)) * 2
    variance = np.exp(2 * params.log_sigma)

    def log_likelihood(p, v):
        h = jnp.asarray(states(4))
        centres = p.visible_bias[None] + h @ p.weights.T
        squares = (centres**2 - p.visible_bias[None] ** 2) / (2 * jnp.exp(2 * p.log_sigma)[None])
        log_z = jax.nn.logsumexp(h @ p.hidden_bias + squares.sum(-1)) + p.log_sigma.sum() + LOG_2PI
        return -free_energy(GAUSSIAN, p, v.T).mean() - log_z

    with jax.enable_x64(True):
        gradient = jax.grad(log_likelihood)(on_device(params, jnp.float64), jnp.asarray(rows))

    hidden = scipy.special.expit(rows / variance @ params.weights + params.hidden_bias)
    data = [term.mean(0) for term in sufficient_statistics(params, rows, hidden, variance)]
    # The model's part by enumeration: given h, v is Gaussian about its centre, and E[v²] has σ² besides.
    log_weights, centres = mixture(params)
    probability = scipy.special.softmax(log_weights)
    of_states = sufficient_statistics(params, centres, states(4), variance)
    of_states[3] = of_states[3] + 1.0
    model = [np.tensordot(probability, term, 1) for term in of_states]
    for found, positive, negative in zip(gradient, data, model, strict=True):
        np.testing.assert_allclose(found, positive - negative, rtol=1e-9, atol=1e-11)
        assert np.abs(found).max() > 1e-2


def test_softmax_likelihood_gradient_is_data_less_model():
    params = softmax_params()
    counts = np.array([3, 1, 0, 4, 2])
    rows = np.eye(5)[np.repeat(np.arange(5), counts)]

    def log_likelihood(p, v):
        return -free_energy(SOFTMAX, p, v.T).mean() - jax.nn.logsumexp(-free_energy(SOFTMAX, p, jnp.eye(5)))

    with jax.enable_x64(True):
        gradient = jax.grad(log_likelihood)(on_device(params, jnp.float64), jnp.asarray(rows))
    joint = np.array([[-energy_softmax(params, v, h) for h in states(4)] for v in np.eye(5)])
    joint = np.exp(joint - scipy.special.logsumexp(joint))  # P(v, h)
    hidden = (joint / joint.sum(1, keepdims=True)) @ states(4)  # E[h | v]
    for share, sign in ((counts / counts.sum(), 1), (joint.sum(1), -1)):
        part = [share[:, None] * hidden, share, share @ hidden]
        gradient = [np.asarray(g) - sign * term for g, term in zip(gradient[:3], part, strict=True)]
    for left in gradient:
        np.testing.assert_allclose(left, 0, atol=1e-12)


def build(make_config, target_type="2D_GMM", num_bins=0, budget=30, batch_size=8, **settings):
    config = make_config(
        target_type=target_type,
        num_bins=num_bins,
        parameter_budget=budget,
        batch_size=batch_size,
        rbm=rbm.Config(**{"algorithm": "CD", "k": 1, "sigma": 0.5, "learn_sigma": True, "average": 0.0, **settings}),
    )
    target = make_target(config)
    model = rbm.build(config, target)
    batch = target.codec.encode(target.sample(jax.random.key(11), batch_size))
    return model, jax.jit(model.init)(jax.random.key(10), batch), batch


def with_random_weights(state):
    """Weights as large as trained ones, where those at the start are all but zero."""
    noise = np.random.default_rng(3).normal(size=state.params.weights.shape)
    return state._replace(params=state.params._replace(weights=jnp.asarray(noise, jnp.float32)))


def step_gradient(state_after):
    """The gradient of one first step, in the order of the leaves: Adam's first moment is then 0.1 times it."""
    moment = optax.tree_utils.tree_get(state_after.opt_state, "mu")
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(moment)]) / 0.1


def sweeps_by_hand(params, rows, noise, one_hot):
    layer, v = SOFTMAX if one_hot else GAUSSIAN, rows.T
    for hidden, visible in zip(noise.hidden, noise.visible, strict=True):
        v = boltzmann.sweep(layer, params, v, hidden, visible)
    return v.T


EVENTS = pytest.mark.parametrize(("target_type", "num_bins"), [("2D_GMM", 0), ("1D_TRIMODAL", 5)])


@EVENTS
@pytest.mark.parametrize("k", [1, 2])
def test_cd_starts_at_the_data_and_does_k_sweeps(make_config, target_type, num_bins, k):
    model, state, batch = build(make_config, target_type, num_bins, k=k)
    state = with_random_weights(state)
    noise = model.noise(jax.random.key(5))
    assert noise.hidden.shape == (k, model.width, 8)
    assert noise.visible.shape == (k, 1 if num_bins else 2, 8)
    after, info = jax.jit(model.step)(state, batch, noise)
    assert after.chains == ()
    energy = functools.partial(free_energy, SOFTMAX if num_bins else GAUSSIAN)
    chains = sweeps_by_hand(state.params, batch, noise, num_bins > 0)
    by_hand = energy(state.params, batch.T).mean() - energy(state.params, chains.T).mean()
    assert float(info.loss) == pytest.approx(float(by_hand), rel=1e-4, abs=1e-5)
    # The gradient has the likelihood's form, with the chains in the model's place.
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state.params)
    variance = 1.0 if num_bins else np.exp(2 * p.log_sigma)

    def statistics(v):
        v = np.asarray(v, np.float64)
        hidden = scipy.special.expit(v / variance @ p.weights + p.hidden_bias)
        if num_bins:
            return [v[:, :, None] * hidden[:, None, :], v, hidden]
        return sufficient_statistics(p, v, hidden, variance)

    expected = [a.mean(0) - b.mean(0) for a, b in zip(statistics(batch), statistics(chains), strict=True)]
    expected = np.concatenate([np.ravel(term) for term in expected])
    np.testing.assert_allclose(-step_gradient(after), expected, rtol=2e-4, atol=2e-4)
    assert np.abs(expected).max() > 0.1


@EVENTS
@pytest.mark.parametrize("k", [1, 2])
def test_pcd_goes_on_from_the_persistent_chains(make_config, target_type, num_bins, k):
    model, state, batch = build(make_config, target_type, num_bins, algorithm="PCD", k=k)
    state = with_random_weights(state)
    step = jax.jit(model.step)
    n_visible = batch.shape[1]
    energy = functools.partial(free_energy, SOFTMAX if num_bins else GAUSSIAN)
    start = state.chains
    # Eight chains of one softmax unit may all stay where they are in one sweep.
    for i in range(4):
        noise = model.noise(jax.random.key(i))
        after, info = step(state, batch, noise)
        assert after.chains.shape == state.chains.shape == (8, n_visible)
        chains = sweeps_by_hand(state.params, state.chains, noise, num_bins > 0)
        np.testing.assert_allclose(after.chains, chains, rtol=1e-5, atol=1e-5)
        by_hand = energy(state.params, batch.T).mean() - energy(state.params, chains.T).mean()
        assert float(info.loss) == pytest.approx(float(by_hand), rel=1e-4, abs=1e-5)
        state = after
    assert np.any(state.chains != start)


def build_both(make_config, monkeypatch, **settings):
    """The same RBM whose step takes the hidden units at once, and one whose step takes five of them at a time."""
    at_once, state, batch = build(make_config, **settings)
    monkeypatch.setattr(rbm, "_PARTS_FROM_BYTES", 0)
    monkeypatch.setattr(boltzmann, "_PART_BYTES", 0)
    monkeypatch.setattr(boltzmann, "_FEWEST_AT_ONCE", 5)
    in_parts, _, _ = build(make_config, **settings)
    assert in_parts.width > 10
    assert in_parts.width % 5
    return at_once, in_parts, state, batch


def whole_noise(noise, width, n):
    """What a step in parts draws, as the one array that a step at once is given."""
    starts = range(0, width, 5)
    hidden = [
        jnp.concatenate([boltzmann.part_uniforms(key, i, (min(5, width - start), n)) for i, start in enumerate(starts)])
        for key in noise.hidden
    ]
    return boltzmann_steps.Noise(jnp.stack(hidden), noise.visible)


# Both algorithms with both k and both kinds of units, σ learned and fixed where there is one.
@pytest.mark.parametrize(
    ("target_type", "num_bins", "algorithm", "k", "learn_sigma"),
    [
        pytest.param("1D_TRIMODAL", 5, "CD", 1, True, marks=pytest.mark.slow),
        ("1D_TRIMODAL", 5, "PCD", 3, True),
        ("2D_GMM", 0, "CD", 3, False),
        pytest.param("2D_GMM", 0, "PCD", 1, True, marks=pytest.mark.slow),
    ],
)
def test_step_in_parts_is_the_step_at_once(target_type, num_bins, algorithm, k, learn_sigma, make_config, monkeypatch):
    at_once, in_parts, state, batch = build_both(
        make_config,
        monkeypatch,
        target_type=target_type,
        num_bins=num_bins,
        budget=150,
        batch_size=13,
        algorithm=algorithm,
        k=k,
        learn_sigma=learn_sigma,
    )
    state = with_random_weights(state)
    noise = in_parts.noise(jax.random.key(7))
    # In both precisions the same uniforms, so that the same hidden units are on.
    whole = whole_noise(noise, in_parts.width, 13)
    monkeypatch.setattr(
        boltzmann,
        "part_uniforms",
        lambda key, i, shape: jax.lax.dynamic_slice_in_dim(
            whole.hidden[jnp.argmax(jnp.all(noise.hidden == key[None], axis=-1))], 5 * i, shape[0]
        ),
    )
    found = {}

    def cast(leaf, bits):
        return leaf.astype(f"float{bits}") if leaf.dtype == np.float32 else leaf

    for bits in (32, 64):
        with jax.enable_x64(bits == 64):
            args = jax.tree.map(functools.partial(cast, bits=bits), (state, batch))
            for name, step, given in (("at once", at_once.step, whole), ("in parts", in_parts.step, noise)):
                after, info = jax.jit(step)(*args, given)
                found[name, bits] = np.concatenate([step_gradient(after), np.ravel(after.chains), np.stack(info)])
    exact = found["at once", 64]
    # Sums of up to 50 · 13 terms in another order, terms of up to ten times the largest sum.
    atol = 650 * 10 * np.finfo(np.float64).eps * np.abs(exact).max()
    np.testing.assert_allclose(found["in parts", 64], exact, rtol=0, atol=atol)
    # And no less exact in float32 but for the luck of rounding.
    errors = {name: np.abs(found[name, 32] - exact).max() for name in ("at once", "in parts")}
    assert errors["in parts"] < 4 * errors["at once"] + 10 * np.finfo(np.float32).eps * np.abs(exact).max()


def test_every_part_of_every_sweep_draws_numbers_of_its_own(make_config, monkeypatch):
    _, in_parts, *_ = build_both(make_config, monkeypatch, budget=3000, batch_size=13, k=3)
    noise = in_parts.noise(jax.random.key(7))
    hidden = np.asarray(whole_noise(noise, in_parts.width, 13).hidden, np.float64)
    assert hidden.shape == (3, in_parts.width, 13)
    # Of 2²³ values as many as there are draws: pairs meet by chance n²/2²⁴ times, here 87 times, and by half as many
    # again once in a million; a stream used twice would meet itself everywhere.
    met = hidden.size - len(np.unique(hidden))
    assert met < 1.5 * hidden.size**2 / 2**24
    # The mean and the spread of uniform numbers, to 4.5 standard errors.
    assert abs(hidden.mean() - 1 / 2) < 4.5 / math.sqrt(12 * hidden.size)
    assert abs(np.mean((hidden - 1 / 2) ** 2) - 1 / 12) < 4.5 / math.sqrt(180 * hidden.size)
    # As compiled within a loop.
    looped = jax.lax.map(lambda i: boltzmann.part_uniforms(noise.hidden[0], i, (5, 13)), jnp.arange(3))
    np.testing.assert_array_equal(looped.reshape(15, 13), hidden[0, :15])


def test_hidden_units_are_taken_in_parts_from_a_size_on(make_config):
    for budget, in_parts in ((30_000, False), (60_000, True)):
        model, _, _ = build(make_config, "1D_TRIMODAL", 20, budget=budget, batch_size=128)
        assert (4 * model.width * 128 >= rbm._PARTS_FROM_BYTES) == in_parts
        assert jax.eval_shape(model.noise, jax.random.key(0)).hidden.dtype == (np.uint32 if in_parts else np.float32)
        # A loop's body counts once: what is counted has none.
        assert (model.step_counted is not None) == in_parts
    assert boltzmann.units_at_once(10**6, 128) == 256
    assert boltzmann.units_at_once(10**6, 4096) == 64
    assert boltzmann.units_at_once(20, 1) == 20


def test_operations_of_parts_are_counted_as_of_the_whole(make_config):
    model, state, batch = build(make_config, "1D_TRIMODAL", 20, budget=60_000, batch_size=128, average=0.999)
    noise = jax.eval_shape(model.noise, jax.random.key(0))
    products = 2 * 20 * model.width * 128
    counts = [
        jax.jit(step).lower(state, batch, noise).compile().cost_analysis()["flops"] / products
        for step in (model.step_counted, model.step)
    ]
    # The logits of data and chains, W h, W E[h | v] of the data, and two halves of the gradient; sigmoids, softpluses
    # and Adam come on top, some twenty operations a hidden unit and row where a product has forty.
    assert 6 <= counts[0] < 7
    assert counts[1] < counts[0] / 2


def test_step_of_ten_million_parameters_holds_no_array_of_all_units_and_rows(make_config):
    config = make_config(parameter_budget=10**7, batch_size=128)
    model = rbm.build(config, make_target(config))
    data = jax.ShapeDtypeStruct((128, config.num_bins), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state, noise = jax.eval_shape(model.init, key, data), jax.eval_shape(model.noise, key)
    sizes = jax.jit(model.step, donate_argnums=0).lower(state, data, noise).compile().memory_analysis()
    # The gradient, and while Adam and the average are updated as much again a few times.
    assert sizes.temp_size_in_bytes < 5 * 4 * model.n_params < 4 * model.width * 128


def test_hidden_units_begin_switching_at_rows_of_the_data(make_config):
    model, _, _ = build(make_config, budget=300)
    data = jax.random.normal(jax.random.key(0), (50, 2))
    params = model.init(jax.random.key(1), data).params
    inputs = np.abs(np.asarray(boltzmann.hidden_input(GAUSSIAN, params, data.T)))
    # [H, n]: at one row each, to rounding; and at many different ones.
    assert np.all(inputs.min(axis=1) < 1e-5)
    assert len(np.unique(inputs.argmin(axis=1))) > 20
    np.testing.assert_allclose(params.visible_bias, data.mean(0), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "scale"),
    [({}, 0.1), ({"target_type": "2D_GMM"}, 0.02), ({"weight_scale": 0.3}, 0.3), ({"num_bins": 20}, 0.01)],
)
def test_weights_begin_as_large_as_is_said(settings, scale, make_config):
    _, state, _ = build(make_config, **{"target_type": "1D_TRIMODAL", "budget": 4000, "num_bins": 0, **settings})
    weights = np.asarray(state.params.weights)
    assert weights.std() == pytest.approx(scale, rel=4 / math.sqrt(2 * weights.size))
    if settings.get("num_bins"):
        assert np.all(np.asarray(state.params.hidden_bias) == 0)


def test_pcd_chains_start_on_data(make_config):
    model, _, _ = build(make_config, algorithm="PCD")
    data = jax.random.normal(jax.random.key(0), (50, 2))
    chains = np.asarray(model.init(jax.random.key(1), data).chains)
    assert len(np.unique(chains, axis=0)) == 8
    assert all((row == np.asarray(data)).all(-1).any() for row in chains)
    # Also where the data set is smaller than a minibatch.
    assert model.init(jax.random.key(1), data[:3]).chains.shape == (8, 2)


def test_fixed_sigma_is_no_parameter(make_config):
    learned, state, _ = build(make_config, learn_sigma=True, sigma=0.7)
    np.testing.assert_allclose(state.params.log_sigma, np.log([0.7, 0.7]), rtol=1e-6)
    fixed, fixed_state, batch = build(make_config, learn_sigma=False, sigma=0.7, budget=learned.n_params - 2)
    assert fixed_state.params.log_sigma == ()
    assert fixed.width == learned.width
    # W, b_v and b_h; and with a learned σ one more a visible unit.
    assert fixed.n_params == 2 * fixed.width + 2 + fixed.width
    assert learned.n_params == fixed.n_params + 2
    # The same model at the same σ.
    same = state.params._replace(log_sigma=())
    np.testing.assert_allclose(
        learned.log_prob(state, batch), fixed.log_prob(fixed_state._replace(params=same), batch), rtol=1e-5
    )
    binned, binned_state, _ = build(make_config, "1D_TRIMODAL", 5, learn_sigma=True)
    assert binned_state.params.log_sigma == ()
    assert binned.n_params == 5 * binned.width + 5 + binned.width


def test_softmax_sweep_leaves_the_exact_distribution_unchanged():
    params, h = softmax_params(), states(4)
    with jax.enable_x64(True):
        on64 = on_device(params, jnp.float64)
        on = scipy.special.expit(boltzmann.hidden_input(SOFTMAX, on64, jnp.eye(5))).T  # P(hⱼ = 1 | v)
        hidden = np.prod(np.where(h[None] > 0, on[:, None], 1 - on[:, None]), axis=-1)  # P(h | v)
        transition = hidden @ np.asarray(boltzmann.visible_mean(SOFTMAX, on64, jnp.asarray(h.T))).T
        exact = scipy.special.softmax(-np.asarray(free_energy(SOFTMAX, on64, jnp.eye(5))))
    np.testing.assert_allclose(transition.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(exact @ transition, exact, atol=1e-12)
    # The sweep that training uses draws from just these rows; 4.5 standard errors of a frequency.
    n = 20_000
    key_hidden, key_visible = jax.random.split(jax.random.key(0))
    start = jnp.asarray(np.repeat(np.eye(5), n, axis=0), jnp.float32)
    swept = boltzmann.sweep(
        SOFTMAX,
        on_device(params),
        start.T,
        jax.random.uniform(key_hidden, (4, 5 * n)),
        jax.random.uniform(key_visible, (1, 5 * n)),
    ).T
    assert np.all(np.asarray(swept).sum(-1) == 1)
    frequency = np.asarray(swept).reshape(5, n, 5).mean(1)
    assert np.all(np.abs(frequency - transition) < 4.5 * np.sqrt(transition * (1 - transition) / n))


def cell_masses(log_weights, centres, sigma, edges):
    """Exact masses of a 1-D mixture between the edges, with what lies outside in the end cells."""
    inner = scipy.stats.norm.cdf(edges[1:-1], centres, sigma)  # [2^H, n − 1]
    each = np.diff(np.concatenate([np.zeros_like(inner[:, :1]), inner, np.ones_like(inner[:, :1])], axis=1))
    return scipy.special.softmax(log_weights) @ each


def histogram(rows, edges):
    return np.bincount(np.searchsorted(edges[1:-1], np.ravel(rows)), minlength=len(edges) - 1)


def test_gaussian_sweep_leaves_the_exact_distribution_unchanged():
    n = 200_000
    params = gaussian_params(n_visible=2)
    log_weights, centres = mixture(params)
    generator = np.random.default_rng(4)
    component = generator.choice(len(centres), size=n, p=scipy.special.softmax(log_weights))
    exact = centres[component] + np.exp(params.log_sigma) * generator.normal(size=(n, 2))
    key_hidden, key_visible = jax.random.split(jax.random.key(0))
    swept = np.asarray(
        boltzmann.sweep(
            GAUSSIAN,
            on_device(params),
            jnp.asarray(exact.T, jnp.float32),
            jax.random.uniform(key_hidden, (4, n)),
            jax.random.normal(key_visible, (2, n)),
        ).T,
        np.float64,
    )
    assert np.all(swept != exact)
    # Cell masses of each coordinate are known exactly, before the sweep and after it; 4.5 standard errors.
    for coordinate in range(2):
        sigma = math.exp(params.log_sigma[coordinate])
        edges = np.linspace(centres[:, coordinate].min() - 2 * sigma, centres[:, coordinate].max() + 2 * sigma, 13)
        masses = cell_masses(log_weights, centres[:, coordinate, None], sigma, edges)
        error = np.sqrt(masses * (1 - masses) / n)
        for rows in (exact, swept):
            assert np.all(np.abs(histogram(rows[:, coordinate], edges) / n - masses) < 4.5 * error + 1e-12)
    # And so is what the coordinates share.
    product = (swept[:, 0] * swept[:, 1]).mean()
    expected = scipy.special.softmax(log_weights) @ (centres[:, 0] * centres[:, 1])
    assert abs(product - expected) < 4.5 * (swept[:, 0] * swept[:, 1]).std() / math.sqrt(n)


def test_gaussian_sweep_from_one_point_is_its_exact_conditional_mixture():
    n, params, start = 100_000, gaussian_params(n_visible=1), 0.4
    key_hidden, key_visible = jax.random.split(jax.random.key(1))
    swept = boltzmann.sweep(
        GAUSSIAN,
        on_device(params),
        jnp.full((1, n), start),
        jax.random.uniform(key_hidden, (4, n)),
        jax.random.normal(key_visible, (1, n)),
    )
    # P(h | v) ∝ exp(−E(v, h)), then N(b_v + W h, σ²).
    log_weights = np.array([-energy_gaussian(params, np.array([start]), h) for h in states(4)])
    _, centres = mixture(params)
    edges = np.linspace(-3, 4, 15)
    masses = cell_masses(log_weights, centres, math.exp(params.log_sigma[0]), edges)
    error = np.sqrt(masses * (1 - masses) / n)
    assert np.all(np.abs(histogram(swept, edges) / n - masses) < 4.5 * error + 2 / n)


def two_modes(make_config):
    """A 1-D RBM of four hidden units whose modes near ∓1.5 hold about 0.3 and 0.7, and which chains cross slowly."""
    model, state, _ = build(
        make_config, "1D_BIMODAL", budget=11, sampler="gibbs", sample_steps=1000, sample_steps_training=3
    )
    assert model.width == 4
    # The first unit is the jump between the modes, and its bias their log odds; the others shape them a little.
    params = boltzmann.Params(
        weights=np.array([[3.0, 0.2, -0.2, 0.1]]),
        visible_bias=np.array([-1.5]),
        hidden_bias=np.array([math.log(7 / 3), 0.0, 0.0, 0.0]),
        log_sigma=np.log([0.65]),
    )
    return model, state._replace(params=on_device(params)), params


def crossing(params):
    """The second largest eigenvalue of one sweep's transitions between hidden states, by quadrature over v."""
    h = states(4)
    _, centres = mixture(params)
    sigma = math.exp(params.log_sigma[0])
    v = np.linspace(centres.min() - 8 * sigma, centres.max() + 8 * sigma, 2001)
    density = scipy.stats.norm.pdf(v, centres, sigma)  # [2^H, n]
    on = scipy.special.expit(v[:, None] / sigma**2 @ params.weights + params.hidden_bias)
    hidden = np.prod(np.where(h[None] > 0, on[:, None], 1 - on[:, None]), axis=-1)
    transition = density @ hidden * (v[1] - v[0])
    np.testing.assert_allclose(transition.sum(1), 1, atol=1e-9)
    return np.sort(np.abs(np.linalg.eigvals(transition)))[-2]


def test_long_chains_follow_log_prob(make_config):
    n = 20_000
    # Here it is running that takes the time.
    jax.config.update("jax_disable_most_optimizations", False)
    model, state, params = two_modes(make_config)
    edges = np.linspace(-3, 3, 13)
    # Cell masses by integrating the model's own density, with Simpson's rule of 32 intervals a cell.
    fine = np.linspace(-6, 6, 24 * 32 + 1)
    density = np.exp(np.asarray(model.log_prob(state, jnp.asarray(fine[:, None], jnp.float32)), np.float64))
    weights = np.tile([2.0, 4.0], len(fine) // 2)[: len(fine) - 1]
    cells = np.add.reduceat(density[:-1] * weights, np.arange(0, len(fine) - 1, 32))
    # Each cell's closing node counts once, as its opening one does.
    cells += density[32::32] - density[:-1:32]
    cells *= (fine[1] - fine[0]) / 3
    masses = np.concatenate([[cells[:7].sum()], cells[7:17], [cells[17:].sum()]])
    assert masses.sum() == pytest.approx(1, abs=1e-5)
    log_weights, centres = mixture(params)
    np.testing.assert_allclose(masses, cell_masses(log_weights, centres, 0.65, edges), atol=1e-5)
    # Two modes with little in between, so that it takes long to cross; but 1000 sweeps are many crossings.
    left, right = masses[:6].sum(), masses[6:].sum()
    assert min(left, right) > 0.1
    assert masses[5:7].max() < 0.5 * min(masses[:5].max(), masses[7:].max())
    second = crossing(params)
    assert second**3 > 0.3
    assert second**1000 < 1e-6

    error = np.sqrt(masses * (1 - masses) / n)
    long = histogram(jax.jit(model.sample, static_argnums=2)(jax.random.key(0), state, n), edges) / n
    assert np.all(np.abs(long - masses) < 4.5 * error)
    # Three sweeps are not enough, which shows what the test can see.
    short = histogram(jax.jit(model.sample_quick, static_argnums=2)(jax.random.key(0), state, n), edges) / n
    assert np.max(np.abs(short - masses) / error) > 20


def test_binned_samples_are_exact(make_config):
    n = 40_000
    model, state, _ = build(make_config, "1D_TRIMODAL", 5)
    state = with_random_weights(state)
    probability = scipy.special.softmax(-np.asarray(free_energy(SOFTMAX, state.params, jnp.eye(5)), np.float64))
    assert np.ptp(probability) > 0.1
    np.testing.assert_allclose(model.log_prob(state, jnp.eye(5)), np.log(probability), atol=1e-5)
    counts = np.asarray(model.sample(jax.random.key(0), state, n)).sum(0)
    # A true sampler fails this for one key in a thousand; the key is fixed.
    assert scipy.stats.chisquare(counts, n * probability).pvalue > 1e-3
    # No shorter way is needed in mid-training.
    assert model.sample_quick is None
    # Soft decoding reads E[v | h] of the model's own hidden states, whose average is the distribution itself.
    mean = np.asarray(model.sample_mean(jax.random.key(1), state, n), np.float64)
    assert np.all(np.abs(mean.mean(0) - probability) < 4.5 * mean.std(0) / math.sqrt(n))


def test_log_prob_is_minus_the_free_energy_less_log_z(make_config):
    model, state, batch = build(make_config)
    state = with_random_weights(state)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state.params)
    free = np.asarray(free_energy(GAUSSIAN, state.params, batch.T), np.float64)
    np.testing.assert_allclose(model.log_prob(state, batch), -free - exact_log_partition(params), atol=2e-5)


def test_energy_landscape_is_minus_log_q(make_config):
    model, state, _ = build(make_config, "1D_TRIMODAL")
    arrays = model.views["rbm_energy_landscape"].arrays(state)
    np.testing.assert_allclose(arrays["energy"], -model.log_prob(state, arrays["x"]), rtol=1e-5, atol=1e-5)


def test_reconstruction_error(make_config):
    model, state, batch = build(make_config)
    state = with_random_weights(state)
    _, info = jax.jit(model.step)(state, batch, model.noise(jax.random.key(5)))
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state.params)
    rows = np.asarray(batch, np.float64)
    hidden = scipy.special.expit(rows / np.exp(2 * p.log_sigma) @ p.weights + p.hidden_bias)
    error = np.sum((rows - p.visible_bias - hidden @ p.weights.T) ** 2, axis=-1).mean()
    assert float(info.reconstruction_error) == pytest.approx(error, rel=1e-5)
