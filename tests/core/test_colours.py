"""Families are told apart in every picture, also without colour vision."""

import itertools

import numpy as np
import pytest

from core.drawing import figures, scenes

# Machado, Oliveira and Fernandes, A Physiologically-based Model for Simulation of Color Vision Deficiency, 2009: of
# linear RGB, for the full loss of one kind of cone.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]
    ],
}  # fmt: skip
COLOURS = [*scenes.family_colours([f"family {i}" for i in range(len(scenes.PALETTE))]).values()]


def lab(colour, vision):
    """CIELAB coordinates of a colour as it is seen; a difference of 2.3 is just noticed."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = to_xyz @ np.clip(VISION[vision] @ linear, 0, 1) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one, two):
    """The least over all kinds of vision."""
    return min(np.linalg.norm(lab(one, vision) - lab(two, vision)) for vision in VISION)


def test_the_simulation_is_right_about_what_is_known():
    # Red and green of one lightness are one to who lacks either cone, and not to who lacks the third.
    red, green = "#C06000", "#7F8000"
    assert np.linalg.norm(lab(red, "normal") - lab(green, "normal")) > 45
    assert distance(red, green) < 25
    np.testing.assert_allclose(lab("#FFFFFF", "deuteranopia"), [100, 0, 0], atol=0.1)


def test_there_is_a_colour_for_eleven_families_and_the_first_three_keep_theirs():
    assert len(set(COLOURS)) == 11
    assert COLOURS[:3] == ["#0072B2", "#D55E00", "#009E73"]
    assert [scenes.dash_of(colour) for colour in COLOURS[:3]] == ["-"] * 3


@pytest.mark.parametrize("pair", itertools.combinations(range(len(COLOURS)), 2), ids=str)
def test_any_two_families_are_told_apart(pair):
    one, two = (COLOURS[i] for i in pair)
    apart = distance(one, two)
    # Five times what is just noticed, side by side; what is nearer than ten times has another marker, too, and what is
    # nearer than seven times another dash as well.
    assert apart > 5 * 2.3
    if apart < 10 * 2.3:
        assert scenes.marker_of(one) != scenes.marker_of(two)
    if apart < 7 * 2.3:
        assert scenes.dash_of(one) != scenes.dash_of(two)


def test_families_differ_from_the_target_and_can_be_read_on_white():
    for colour in COLOURS:
        assert distance(colour, figures.TARGET_COLOUR) > 20
        assert lab(colour, "normal")[0] < 75


def test_markers_and_dashes_follow_the_colour():
    assert len({scenes.marker_of(colour) for colour in COLOURS}) == 11
    # No marker says anything else in a picture.
    assert not {"^", "v", "X"} & {scenes.marker_of(colour) for colour in COLOURS}
    assert scenes.dash_of(figures.TARGET_COLOUR) == "-"
    assert figures.EXTERNAL_DASH not in [scenes.dash_of(colour) for colour in COLOURS]
    # What comes after eleven begins anew, darker.
    later = [*scenes.family_colours(list(map(str, range(22)))).values()][11:]
    assert not set(later) & set(COLOURS)
    assert [*map(scenes.marker_of, later)] == [*map(scenes.marker_of, COLOURS)]
