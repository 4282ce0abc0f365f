"""Two-sample metrics and mode counts of one final sample: pure functions of NumPy arrays, on the host."""

import threading
import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist, pdist

from kinds.real.modes import QUALITY_RADIUS, squared_distances
from kinds.real.truth import Modes

# Widths of the kernel's Gaussians in bandwidths. Each is half of the next, which `_kernel_sum` relies on.
KERNEL_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
N_FOLDS = 5
# What a covered mode holds at least, as a share of its weight. One sample is not enough: a generator that smears mass
# over the plane leaves one near every mode, and the count would grow with the sample's size. Sampling noise, in turn,
# does not bring a mode of weight w down to a fifth: at 100 expected samples that is 8 standard deviations.
COVERED_SHARE = 0.2

# Normal quantile of a two-sided 95 % range.
_Z_95 = 1.96
# Scores beyond this are as far as the classifier can tell, and a diverged 1e6 would overflow its weights. No row of a
# reference of n is farther than √(n − 1) deviations from its mean: 45 for 2 000, so that none is clipped.
_FARTHEST_SCORE = 50.0
# Rows of a kernel matrix at a time: a block stays in the cache through exp and eight squarings.
_BLOCK_ROWS = 64


class _OneBlasThread:
    """Holds BLAS to one thread from the first that enters to the last that leaves.

    Its threads wait for each other longer than the classifier's small matrices take: 2–4 s and not 0.4 on two busy
    cores. The number of threads is the whole process's and decides the last bits of a product: where seeds are scored
    side by side, the first to leave must not lift the limit for those still inside.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._n_inside = 0

    def __enter__(self) -> None:
        from threadpoolctl import threadpool_limits

        with self._lock:
            if self._n_inside == 0:
                self._limit = threadpool_limits(1)
            self._n_inside += 1

    def __exit__(self, *_) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._limit.restore_original_limits()


_ONE_BLAS_THREAD = _OneBlasThread()


def wasserstein_exact(x: np.ndarray, reference: np.ndarray) -> float:
    """Wasserstein-1 distance between two samples of one size, with Euclidean cost, in units of x.

    min over permutations π of (1/n) Σᵢ ‖xᵢ − r_π(i)‖: between equally many points of equal mass an optimal transport
    plan is an assignment (Birkhoff's theorem). In 1-D the sorted samples match.

    Args:
      x: [n, D].
      reference: [n, D].
    """
    x, reference = np.asarray(x, np.float64), np.asarray(reference, np.float64)
    if x.shape[1] == 1:
        return float(np.mean(np.abs(np.sort(x[:, 0]) - np.sort(reference[:, 0]))))
    cost = cdist(x, reference)
    row, column = linear_sum_assignment(_reduced(cost))
    return float(cost[row, column].mean())


def median_distance(reference: np.ndarray) -> float:
    """The median heuristic: the median Euclidean distance between rows [n, D] i < j, in units of x.

    With bins more than half of the pairs can coincide; the mean distance then stands in, and 1 where all rows are one.
    """
    distances = pdist(np.asarray(reference, np.float64))
    return float(np.median(distances) or distances.mean() or 1.0)


def mean_kernel(rows: np.ndarray, bandwidth: float) -> float:
    """Mean of the kernel over all pairs i ≠ j of rows [n, D]: what `mmd2` takes as `reference_term`."""
    rows = np.asarray(rows, np.float64)
    n = len(rows)
    # k(r, r) = 1 on the diagonal.
    return (_kernel_sum(rows, rows, bandwidth) - n) / (n * (n - 1))


def mmd2(x: np.ndarray, reference: np.ndarray, bandwidth: float, reference_term: float | None = None) -> float:
    """Squared maximum mean discrepancy between two samples, the unbiased estimate: negative values occur.

    mean_{i≠j} k(xᵢ, xⱼ) + mean_{i≠j} k(rᵢ, rⱼ) − 2 mean k(xᵢ, rⱼ), where k is the mean of the Gaussian kernels
    exp(−d²/2s²) with s = `KERNEL_WIDTHS` × bandwidth (Gretton et al., A Kernel Two-Sample Test, 2012, eq. 3).

    Args:
      x: [m, D].
      reference: [n, D].
      bandwidth: in units of x, such as `median_distance(reference)`.
      reference_term: `mean_kernel(reference, bandwidth)`, the same for every x; None: computed here.
    """
    x, reference = np.asarray(x, np.float64), np.asarray(reference, np.float64)
    if reference_term is None:
        reference_term = mean_kernel(reference, bandwidth)
    cross = _kernel_sum(x, reference, bandwidth) / (len(x) * len(reference))
    return mean_kernel(x, bandwidth) + reference_term - 2 * cross


def classifier_accuracy(x: np.ndarray, reference: np.ndarray, seed: int = 0) -> float:
    """Classifier two-sample test: how often a network tells held-out rows of x from held-out rows of the reference.

    ½ if nothing tells them apart, 1 if every row gives itself away. One hidden layer of 20 rectified linear units
    (Lopez-Paz & Oquab, Revisiting Classifier Two-Sample Tests, 2017, §3), trained on four of five stratified folds and
    tested on the fifth, each in turn. Trained by L-BFGS and not, as there, by Adam: in 100 iterations and a third of
    the time it finds what Adam misses in 100 epochs (a ring of eight modes with √5 times their deviation: 0.66 against
    0.52 at 2 000 rows).

    Args:
      x: [n, D].
      reference: [n, D]; its mean and deviation standardise both samples.
      seed: of the folds and of the network's initial weights.
    """
    # A second of imports that only this metric needs.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold
    from sklearn.neural_network import MLPClassifier

    x, reference = np.asarray(x, np.float64), np.asarray(reference, np.float64)
    deviation = reference.std(0)
    scores = (np.concatenate([x, reference]) - reference.mean(0)) / np.where(deviation > 0, deviation, 1)
    scores = np.clip(scores, -_FARTHEST_SCORE, _FARTHEST_SCORE)
    labels = np.repeat([0.0, 1.0], [len(x), len(reference)])
    # 100 iterations are the budget, not a failure. For good: catch_warnings is not safe where seeds run side by side.
    warnings.filterwarnings("ignore", "lbfgs failed to converge", ConvergenceWarning)
    n_told = 0
    with _ONE_BLAS_THREAD:
        for train, test in StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(scores, labels):
            # With bins few rows differ, and each of them once with its count is the same objective in a fourth of the
            # time.
            distinct, counts = np.unique(np.column_stack([scores, labels])[train], axis=0, return_counts=True)
            network = MLPClassifier((20,), solver="lbfgs", max_iter=100, random_state=seed)
            network.fit(distinct[:, :-1], distinct[:, -1], sample_weight=counts.astype(np.float64))
            n_told += np.count_nonzero(network.predict(scores[test]) == labels[test])
    return n_told / len(labels)


def binomial_null(n_rows: int) -> tuple[float, float, float]:
    """Mean and 95 % range of the accuracy on 2 n_rows held-out rows that one fixed classifier tells by chance.

    ½ ± 1.96 · ½/√(2n) (Lopez-Paz & Oquab, 2017, §3). For `classifier_accuracy` the mean is right and the range too
    narrow: see `cross_validated_null`.
    """
    return _null(2 * n_rows)


def cross_validated_null(n_rows: int) -> tuple[float, float, float]:
    """Mean and 95 % range of `classifier_accuracy` between two samples of n_rows from one distribution.

    The mean is ½: each fold's network is independent of the fold, and labels are balanced there. The folds, however,
    are not independent of each other. A pair of rows in different folds serves twice, each row once to train what the
    other tests: if accuracy is Σ yᵢ yⱼ Aᵢⱼ over such pairs, with labels y = ±1 and symmetric influence A, both terms of
    a pair are equal, and the variance is twice the binomial one. Hence ½ ± 1.96 · ½/√n, as from a test set of half the
    rows. Measured at 300 rows the variance is 1.5–1.8 times the binomial one: 95–98 % of accuracies lie in this range,
    and 84–92 % in the binomial one.
    """
    return _null(n_rows)


def mode_statistics(x: np.ndarray, modes: Modes) -> tuple[int, float]:
    """How many modes a sample covers, and which share of it is of high quality.

    Each row belongs to the mode that is nearest in Mahalanobis distance √((x − μ)ᵀ Σ⁻¹ (x − μ)), and is of high quality
    within `QUALITY_RADIUS` of it. A mode is covered if its rows of high quality are at least `COVERED_SHARE` of its
    weight. Draws from well-separated modes themselves have a share of P(χ²_D <= 9): 0.9973 in 1-D and 0.9889 in 2-D.

    Args:
      x: [n, D].
      modes: M components.

    Returns:
      The number of covered modes, and the share of x that is of high quality.
    """
    squared_distance = squared_distances(np.asarray(x, np.float64), modes.means, modes.covariances)
    good = squared_distance.min(0) <= QUALITY_RADIUS**2
    held = np.bincount(squared_distance.argmin(0)[good], minlength=len(modes.weights)) / len(x)
    return int(np.sum(held >= COVERED_SHARE * modes.weights)), float(good.mean())


def _reduced(cost: np.ndarray) -> np.ndarray:
    """The cost [n, n] less a number for every row and column, which leaves the optimal assignment what it is.

    With numbers near the dual optimum the solver's shortest augmenting paths are short: 2 000 points against a shifted,
    narrowed or collapsed sample mostly take 1–2 s and not 5–10. The numbers come from a few Sinkhorn iterations with
    falling entropic regularisation (Cuturi, Sinkhorn Distances, 2013); that these have not converged costs time, not
    exactness.
    """
    cost = cost - cost.min(0)
    cost -= cost.min(1, keepdims=True)
    scale = cost.mean()
    if scale == 0:
        return cost
    single = (cost / scale).astype(np.float32)
    column = np.zeros(len(cost), np.float32)
    for epsilon in (1 / 3, 1 / 10, 1 / 30, 1 / 100, 1 / 300, 1 / 1000):
        for _ in range(4):
            row = _soft_minimum(single - column, epsilon, axis=1)
            column = _soft_minimum(single - row[:, None], epsilon, axis=0)
    cost -= scale * column
    cost -= cost.min(1, keepdims=True)
    cost -= cost.min(0)
    return cost


def _soft_minimum(values: np.ndarray, epsilon: float, axis: int) -> np.ndarray:
    # −ε ln Σ exp(−v/ε), in the memory of `values`.
    least = values.min(axis, keepdims=True)
    values -= least
    values *= -1 / epsilon
    np.exp(values, out=values)
    return least.squeeze(axis) - np.float32(epsilon) * np.log(values.sum(axis))


def _kernel_sum(a: np.ndarray, b: np.ndarray, bandwidth: float) -> float:
    """Σᵢⱼ k(aᵢ, bⱼ) for a [m, D] and b [n, D]."""
    # With bins few rows differ.
    (a, a_counts), (b, b_counts) = (np.unique(rows, axis=0, return_counts=True) for rows in (a, b))
    repeated = len(a) < a_counts.sum() or len(b) < b_counts.sum()

    def summed(kernel, start):
        # Not as a product of everything: threads of BLAS would take thirty times as long as they save.
        return a_counts[start : start + _BLOCK_ROWS] @ (kernel * b_counts).sum(1) if repeated else kernel.sum()

    total = 0.0
    for start in range(0, len(a), _BLOCK_ROWS):
        kernel = cdist(a[start : start + _BLOCK_ROWS], b, "sqeuclidean")
        kernel *= -0.5 / (KERNEL_WIDTHS[-1] * bandwidth) ** 2
        np.exp(kernel, out=kernel)
        total += summed(kernel, start)
        for _ in KERNEL_WIDTHS[1:]:
            # Half the width is the fourth power, and two squarings are cheaper than one exp.
            kernel *= kernel
            kernel *= kernel
            total += summed(kernel, start)
    return float(total) / len(KERNEL_WIDTHS)


def _null(n_independent: int) -> tuple[float, float, float]:
    reach = _Z_95 * 0.5 / np.sqrt(n_independent)
    return 0.5, float(0.5 - reach), float(0.5 + reach)
