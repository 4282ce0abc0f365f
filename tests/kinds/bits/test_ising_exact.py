"""Exact averages of the Ising model against enumeration, known values, and their own limit."""

import math

import numpy as np
import pytest

from kinds.bits import ising
from models.lattices import neighbours


def enumerated(height, width, coupling):
    """⟨E⟩ and C of all states."""
    pairs = ising.bonds(height, width, "torus")
    energy = ising.energies(height * width, pairs, np.ones(len(pairs)))
    p = np.exp(-coupling * (energy - energy.min() if coupling > 0 else energy - energy.max()))
    p /= p.sum()
    mean = p @ energy
    return mean, coupling**2 * (p @ (energy - mean) ** 2)


@pytest.mark.parametrize("coupling", [0.1, 0.3, ising.CRITICAL, 0.4406868, 0.7, 1.5])
@pytest.mark.parametrize(("height", "width"), [(3, 3), (3, 4), (4, 3), (4, 4), (3, 5)])
def test_energy_and_heat_capacity_are_those_of_enumeration(height, width, coupling):
    found = ising.energy_and_heat_capacity(height, width, coupling)
    np.testing.assert_allclose(found, enumerated(height, width, coupling), rtol=1e-7, atol=1e-9)


def test_averages_of_all_states_are_the_known_ones():
    couplings = np.array([0.2, 0.4406868])
    energy, capacity, size, susceptibility = ising.averages(*ising.levels(4, 4), couplings) / 16
    np.testing.assert_allclose([energy[1], capacity[1], size[1]], [-1.565624, 0.783267, 0.843860], atol=1e-6)
    # ⟨m²⟩ at K_c is 0.761359.
    assert susceptibility[1] == pytest.approx(0.4406868 * 16 * (0.761359 - 0.843860**2), abs=3e-5)
    for k, *found in zip(couplings, energy, capacity, strict=True):
        np.testing.assert_allclose(found, np.array(ising.energy_and_heat_capacity(4, 4, k)) / 16, rtol=1e-9)


def test_a_coupling_below_zero_is_that_of_its_size_on_even_sides():
    np.testing.assert_allclose(ising.energy_and_heat_capacity(4, 4, -0.3), enumerated(4, 4, -0.3), rtol=1e-9)
    for height, coupling in ((3, -0.3), (4, 0.0)):
        with pytest.raises(ValueError, match="no such form"):
            ising.energy_and_heat_capacity(height, 4, coupling)


@pytest.mark.parametrize("side", [16, 32, 64])
@pytest.mark.parametrize("coupling", [0.4, ising.CRITICAL, 0.5])
def test_the_energy_is_the_slope_of_the_free_energy(side, coupling):
    step = 1e-5
    levels = [ising.log_partition(side, side, coupling + sign * step) for sign in (1, -1)]
    slope = -(levels[0] - levels[1]) / (2 * step)
    energy, capacity = ising.energy_and_heat_capacity(side, side, coupling)
    assert energy == pytest.approx(slope, rel=1e-6)
    sides = [ising.energy_and_heat_capacity(side, side, coupling + sign * step)[0] for sign in (1, -1)]
    assert capacity == pytest.approx(-(coupling**2) * (sides[0] - sides[1]) / (2 * step), rel=1e-5)


def test_large_lattices_come_to_onsagers_limit():
    for coupling in (0.3, 0.4, 0.5, 0.6):
        energy, capacity, _ = ising.onsager(coupling)
        found = np.array(ising.energy_and_heat_capacity(64, 64, coupling)) / 64**2
        np.testing.assert_allclose(found, [energy, capacity], rtol=3e-4)
    # At K_c the energy is −√2, and below T_c the magnetisation is Yang's.
    assert ising.onsager(ising.CRITICAL)[0] == pytest.approx(-math.sqrt(2), abs=1e-7)
    assert ising.onsager(0.5)[2] == pytest.approx(0.9113193779, abs=1e-9)
    assert ising.onsager(0.44)[2] == 0


@pytest.mark.parametrize(("boundary", "seed"), [("torus", 0), ("torus", 3), ("free", 5)])
def test_samplers_move_the_bonds_that_the_target_has(boundary, seed):
    pairs = ising.bonds(3, 4, boundary)
    signs = ising.signs(len(pairs), seed)
    lattice = ising.lattice_of(3, 4, boundary, 0.4, signs)
    dense, own = np.zeros((2, 12, 12))
    for (a, b), sign in zip(pairs, signs, strict=True):
        dense[a, b] += sign
        dense[b, a] += sign
    for site, (around, each) in enumerate(zip(*neighbours(lattice), strict=True)):
        np.add.at(own[site], around, each)
    np.testing.assert_array_equal(own, dense)
