"""Boxes, cylinders and spheres before a wall, rendered in closed form: one ray through the middle of every pixel.

Lengths. The camera stands at the origin and looks along z; x points right and y down. A pixel's ray is s·(u/2, v/2,
1) with u, v in (−1, 1): at distance 3 the picture shows 3 × 3 lengths. A wall stands at z = 4. The depth of a pixel is
the z of what its ray meets first, and its channel holds z/4. A colour is (0.3 + 0.7·max(0, n·l)) times that of the
surface, with its normal n and the direction l to the light.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

SIDE = 32
WALL = 4.0  # lengths
NAMES = ("box", "cylinder", "sphere")
_AMBIENT = 0.3
_AT_ONCE = 256  # images: what their rays meet takes some 0.5 MB each


class Scene(NamedTuple):
    """One object, the wall and the light."""

    kind: jax.Array  # [] int32: its place in NAMES
    centre: jax.Array  # [3]
    rotation: jax.Array  # [3, 3]: columns are the object's own axes
    size: jax.Array  # [3]: half sides of a box; radius and half height of a cylinder; radius of a sphere
    colour: jax.Array  # [3] in [0, 1]
    wall: jax.Array  # [] grey of the wall
    light: jax.Array  # [3], the unit vector to the light


class Hits(NamedTuple):
    """Where rays meet a surface first: z, infinite where they do not, and the normal there."""

    z: jax.Array  # [P]
    normal: jax.Array  # [P, 3], in the object's own axes


def rays(side: int = SIDE) -> jax.Array:
    """Directions [side², 3] through the middles of all pixels, row-major, with z = 1."""
    middles = (jnp.arange(side) + 0.5) / side - 0.5
    v, u = jnp.meshgrid(middles, middles, indexing="ij")
    return jnp.stack([u, v, jnp.ones_like(u)], axis=-1).reshape(-1, 3)


def meet_sphere(origin: jax.Array, directions: jax.Array, radius: jax.Array) -> Hits:
    """Where rays origin [3] + s·directions [P, 3] meet a sphere about 0."""
    a = jnp.sum(directions**2, axis=1)
    b = directions @ origin
    discriminant = b**2 - a * (origin @ origin - radius**2)
    s = jnp.where(discriminant >= 0, (-b - jnp.sqrt(jnp.maximum(discriminant, 0))) / a, jnp.inf)
    points = origin[None] + jnp.where(jnp.isfinite(s), s, 0)[:, None] * directions
    return Hits(s, points / radius)


def meet_box(origin: jax.Array, directions: jax.Array, half: jax.Array) -> Hits:
    """Where these rays meet a box of half sides [3] about 0: between three pairs of planes."""
    slow = jnp.where(jnp.abs(directions) < 1e-9, 1e-9, directions)
    first = (-jnp.sign(slow) * half[None] - origin[None]) / slow
    last = (jnp.sign(slow) * half[None] - origin[None]) / slow
    axis = jnp.argmax(first, axis=1)
    near = jnp.max(first, axis=1)
    hit = near < jnp.min(last, axis=1)
    sign = -jnp.take_along_axis(jnp.sign(slow), axis[:, None], axis=1)
    return Hits(jnp.where(hit, near, jnp.inf), sign * jax.nn.one_hot(axis, 3))


def meet_cylinder(origin: jax.Array, directions: jax.Array, radius: jax.Array, half: jax.Array) -> Hits:
    """Where these rays meet a cylinder about the z axis: its side and its near cap."""
    flat, start = directions[:, :2], origin[:2]
    a = jnp.maximum(jnp.sum(flat**2, axis=1), 1e-12)
    b = flat @ start
    discriminant = b**2 - a * (start @ start - radius**2)
    s_side = (-b - jnp.sqrt(jnp.maximum(discriminant, 0))) / a
    on_side = (discriminant >= 0) & (jnp.abs(origin[2] + s_side * directions[:, 2]) <= half)
    slow = jnp.where(jnp.abs(directions[:, 2]) < 1e-9, 1e-9, directions[:, 2])
    s_cap = (-jnp.sign(slow) * half - origin[2]) / slow
    on_cap = jnp.sum((start[None] + s_cap[:, None] * flat) ** 2, axis=1) <= radius**2
    s_side, s_cap = jnp.where(on_side, s_side, jnp.inf), jnp.where(on_cap, s_cap, jnp.inf)
    s = jnp.minimum(s_side, s_cap)
    points = start[None] + jnp.where(jnp.isfinite(s), s, 0)[:, None] * flat
    of_side = jnp.concatenate([points / radius, jnp.zeros((len(flat), 1))], axis=1)
    of_cap = jnp.stack([jnp.zeros(len(slow)), jnp.zeros(len(slow)), -jnp.sign(slow)], axis=1)
    return Hits(s, jnp.where((s_cap < s_side)[:, None], of_cap, of_side))


def render(scene: Scene, side: int = SIDE) -> jax.Array:
    """An image [side, side, 4] in [0, 1]: red, green, blue, and depth over WALL."""
    directions = rays(side)
    origin, own = -scene.centre @ scene.rotation, directions @ scene.rotation
    hits = (
        meet_box(origin, own, scene.size),
        meet_cylinder(origin, own, scene.size[0], scene.size[1]),
        meet_sphere(origin, own, scene.size[0]),
    )
    z, normal = (jnp.stack(each)[scene.kind] for each in zip(*hits, strict=True))
    hit = z < WALL
    of_object = _lit(normal @ scene.rotation.T @ scene.light)[:, None] * scene.colour[None]
    of_wall = _lit(-scene.light[2]) * scene.wall
    colour = jnp.where(hit[:, None], of_object, of_wall)
    depth = jnp.where(hit, z, WALL) / WALL
    return jnp.concatenate([colour, depth[:, None]], axis=1).reshape(side, side, 4)


def draw_scene(key: jax.Array, kind: jax.Array) -> Scene:
    """A scene at random: pose, size, colour and light of an object of that kind."""
    keys = jax.random.split(key, 6)
    low, high = jnp.array([-0.5, -0.5, 2.5]), jnp.array([0.5, 0.5, 3.0])
    towards = jax.random.normal(keys[4], (3,))
    # From the camera's side of the wall.
    towards = towards.at[2].set(-jnp.abs(towards[2]))
    return Scene(
        kind=kind,
        centre=jax.random.uniform(keys[0], (3,), minval=low, maxval=high),
        rotation=_rotation(jax.random.normal(keys[1], (4,))),
        size=jax.random.uniform(keys[2], (3,), minval=0.35, maxval=0.7),
        colour=jax.random.uniform(keys[3], (3,), minval=0.2, maxval=1.0),
        wall=jax.random.uniform(keys[5], (), minval=0.2, maxval=0.6),
        light=towards / jnp.linalg.norm(towards),
    )


def draw(key: jax.Array, n: int, kinds: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """n images [n, SIDE·SIDE·4] and which of `kinds` each shows [n], all of these alike often."""
    key_kind, key_scene = jax.random.split(key)
    which = jax.random.randint(key_kind, (n,), 0, len(kinds))

    def one(scene):
        return render(draw_scene(*scene)).reshape(-1)

    scenes = jax.random.split(key_scene, n), jnp.asarray(kinds)[which]
    return jax.lax.map(one, scenes, batch_size=_AT_ONCE), which


def _lit(cosine: jax.Array) -> jax.Array:
    return _AMBIENT + (1 - _AMBIENT) * jnp.maximum(cosine, 0)


def _rotation(quaternion: jax.Array) -> jax.Array:
    """The rotation [3, 3] of a quaternion [4] of any length; of a normal one every rotation is alike likely."""
    w, x, y, z = quaternion / jnp.linalg.norm(quaternion)
    return jnp.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
