"""Rendered shapes: depths, normals and shading against what is known of them by other means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from kinds.images import rendering

LIGHT = np.array([0.0, 0.0, -1.0])


@pytest.fixture(autouse=True)
def _exact():
    """In float64: where a ray grazes a surface float32 has half of its digits left."""
    with jax.enable_x64(True):
        yield


def scene(kind, size, *, centre=(0.0, 0.0, 3.0), rotation=None, light=LIGHT, colour=(1.0, 0.5, 0.25)):
    return rendering.Scene(
        jnp.int32(rendering.NAMES.index(kind)),
        jnp.asarray(centre, jnp.float64),
        jnp.asarray(np.eye(3) if rotation is None else rotation, jnp.float64),
        jnp.asarray(size, jnp.float64),
        jnp.asarray(colour, jnp.float64),
        jnp.float64(0.4),
        jnp.asarray(light, jnp.float64),
    )


def depth_of(image):
    return np.asarray(image)[..., 3] * rendering.WALL


def turned(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def middles(side=rendering.SIDE):
    return (np.arange(side) + 0.5) / side - 0.5


def test_the_depth_of_a_sphere_is_the_root_of_its_equation():
    image = rendering.render(scene("sphere", (0.6, 0.0, 0.0), centre=(0.2, -0.1, 2.8)))
    depth = depth_of(image)
    centre = np.array([0.2, -0.1, 2.8])
    for i, v in enumerate(middles()):
        for j, u in enumerate(middles()):
            d = np.array([u, v, 1.0])
            roots = np.roots([d @ d, -2 * d @ centre, centre @ centre - 0.36])
            expected = min(roots.real) if np.isreal(roots).all() else rendering.WALL
            assert depth[i, j] == pytest.approx(expected, abs=1e-9)


def test_the_face_of_a_box_before_the_camera_has_one_depth_and_one_shade():
    image = np.asarray(rendering.render(scene("box", (0.5, 0.4, 0.3))))
    u, v = np.meshgrid(middles(), middles())
    # The face at z = 2.7 spans |x| ≤ 0.5 and |y| ≤ 0.4; from the front it hides all other sides.
    face = (np.abs(u) * 2.7 <= 0.5) & (np.abs(v) * 2.7 <= 0.4)
    np.testing.assert_allclose(depth_of(image)[face], 2.7, rtol=1e-12)
    np.testing.assert_allclose(image[face][:, :3], [[1.0, 0.5, 0.25]] * face.sum(), rtol=1e-12)
    np.testing.assert_allclose(depth_of(image)[~face], rendering.WALL)
    np.testing.assert_allclose(image[~face][:, :3], 0.4, rtol=1e-12)


def test_the_cap_of_a_cylinder_before_the_camera_is_a_disc():
    image = rendering.render(scene("cylinder", (0.5, 0.3, 0.0)))
    u, v = np.meshgrid(middles(), middles())
    disc = np.hypot(u, v) * 2.7 <= 0.5
    np.testing.assert_allclose(depth_of(image)[disc], 2.7, rtol=1e-12)
    assert np.all(depth_of(image)[~disc] > 2.7)


def test_the_side_of_a_cylinder_across_the_view():
    # Its axis along y: a ray in the plane y = 0 meets the circle x² + (z − 3)² = 0.25.
    rotation = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    side = 33  # an odd number, so that a row of pixels looks along y = 0
    depth = depth_of(rendering.render(scene("cylinder", (0.5, 0.6, 0.0), rotation=rotation), side))[side // 2]
    for u, z in zip(middles(side), depth, strict=True):
        roots = np.roots([1 + u * u, -6.0, 9 - 0.25])
        assert z == pytest.approx(min(roots.real) if np.isreal(roots).all() else rendering.WALL, abs=1e-9)


def inside(kind, size, points):
    """How far points in the object's own axes are within it; below 0: outside."""
    if kind == "box":
        return np.min(np.asarray(size) - np.abs(points), axis=-1)
    if kind == "cylinder":
        return np.minimum(size[0] - np.hypot(points[..., 0], points[..., 1]), size[1] - np.abs(points[..., 2]))
    return size[0] - np.linalg.norm(points, axis=-1)


@pytest.mark.parametrize("kind", rendering.NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_depths_of_turned_objects_are_where_rays_enter_them(kind, seed):
    size, centre, rotation = (0.6, 0.45, 0.5), np.array([0.3, -0.2, 2.7]), turned(seed)
    depth = depth_of(rendering.render(scene(kind, size, centre=centre, rotation=rotation)))
    steps = np.linspace(1.2, rendering.WALL, 4_000)
    n_hit = 0
    for i in range(0, rendering.SIDE, 3):
        for j in range(0, rendering.SIDE, 3):
            ray = np.array([middles()[j], middles()[i], 1.0])

            def within(s, ray=ray):
                return inside(kind, size, (np.multiply.outer(s, ray) - centre) @ rotation)

            there = np.flatnonzero(within(steps) > 0)
            if not len(there):
                # A step of the search may pass a corner that is touched.
                assert depth[i, j] == rendering.WALL or abs(within(np.array(depth[i, j]))) < 2e-3
                continue
            n_hit += 1
            entry = scipy.optimize.brentq(within, steps[there[0] - 1], steps[there[0]])
            assert depth[i, j] == pytest.approx(entry, abs=1e-8)
    assert n_hit > 10


def test_normals_are_those_of_the_depth():
    """What the light shows of a sphere agrees with the slopes of its depth."""
    size, centre = 0.7, np.array([0.0, 0.0, 2.5])
    light = np.array([0.6, -0.3, -0.74])
    light /= np.linalg.norm(light)
    image = np.asarray(rendering.render(scene("sphere", (size, 0, 0), centre=centre, light=light)))
    depth = depth_of(image)
    u, v = np.meshgrid(middles(), middles())
    points = np.stack([u * depth, v * depth, depth], axis=-1)
    hit = depth < rendering.WALL
    cosine = (points - centre) @ light / size
    expected = 0.3 + 0.7 * np.maximum(cosine, 0)
    np.testing.assert_allclose(image[..., 0][hit], expected[hit], atol=1e-9)


def test_images_are_numbers_from_0_to_1_and_show_their_kinds():
    rows, which = jax.jit(rendering.draw, static_argnums=(1, 2))(jax.random.key(3), 300, (0, 2))
    assert rows.shape == (300, 4096)
    assert np.all((np.asarray(rows) >= 0) & (np.asarray(rows) <= 1))
    # Five standard errors of a share of one half.
    assert abs(np.mean(which) - 0.5) < 5 * 0.5 / np.sqrt(300)
    depth = np.asarray(rows).reshape(300, 32, 32, 4)[..., 3]
    # Every object is seen, and the wall behind it.
    assert np.all((depth < 1).any(axis=(1, 2)) & (depth == 1).any(axis=(1, 2)))


def test_every_rotation_is_one():
    turns = np.asarray(jax.vmap(rendering._rotation)(jax.random.normal(jax.random.key(0), (50, 4))))
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-12)
