"""How close does a GAN, a VAE or an RBM of P trainable parameters come to a given distribution?

Edit a constant below and run `python3 generative_models_GAN_VAE_RBM_benchmarks.py`, or set any of them for one run on
the command line (`--target-type 1D_BETA --num-bins 0`; `--help` lists all). Pictures and numbers go to OUT_DIR.
"""

import sys

# 1D_BIMODAL, 1D_TRIMODAL, 1D_QUADMODAL, 1D_BETA, 1D_POISSON, 2D_MIX_GAUSS, 2D_GMM, 2D_RING, 2D_GRID, 2D_MOONS,
# 2D_CIRCLES, 2D_SPIRALS, 2D_PINWHEEL, 2D_CHECKERBOARD or CUSTOM
TARGET_TYPE = "1D_TRIMODAL"  # the distribution to learn
PARAMETER_BUDGET = 1600  # trainable weights of a family, all its networks together
NUM_BINS = 20  # one-hot cells of a 1-D target; 0: continuous
SNAPSHOT_PERCENT = 5  # % of the training between two timeline pictures: 1, 2, 4, 5, 10, 20, 25, 50 or 100
N_STEPS = 20_000  # training steps, one minibatch each
N_EVALUATIONS = 40  # scores during training at equal distances; divides N_STEPS
BATCH_SIZE = 128  # rows of a minibatch
NUM_SEEDS = 4  # independent repetitions of every family
SEED = 42  # root of all randomness, a whole number from 0
# GAN, VAE, RBM, WGAN, WGAN_GP, HISTOGRAM, KDE, GMM, KMEANS, VBGMM and BBVI are there
MODELS = ("GAN", "VAE", "RBM")  # families to train, any of these; () for none
HIDDEN_LAYERS = 2  # in every multilayer perceptron, from 1
N_EVAL_SAMPLES = 5_000  # draws from a model for one score
KLD_CELLS = 0  # histogram cells an axis; 0: 50 in 1-D, 30 in 2-D (with bins: the bins; Poisson: the integers)
KLD_EPSILON = 1e-10  # what an empty cell is taken to hold, above 0
DECODE = "hard"  # with bins, score "hard": the drawn cell, or "soft": the expected position
N_SAMPLES_TRAIN = 0  # rows of a fixed training set, drawn once, and as many held out; 0: fresh draws every step
COMPILATION_CACHE = "on"  # keep compiled programs in a private folder, so that the next run starts sooner; or "off"
OUT_DIR = "results_classical_benchmarks"  # folder that everything is written to
CUSTOM_FILE = ""  # .npy or .csv of 1 or 2 columns, at least 20 rows, for TARGET_TYPE = "CUSTOM"
SWEEP = {}  # constant -> values to try, such as {"PARAMETER_BUDGET": (310, 1000)}: all combinations are run
SWEEP_PICTURES = True  # whether every run of a sweep draws its own pictures
LAUNCHER = "local"  # where the runs of a sweep take place: "local": here; "slurm": a cluster, as SLURM below asks

# Samples from elsewhere, scored beside the families: name -> (.npy or .csv of rows in data space, parameters or None),
# and exact probabilities of the NUM_BINS cells. With MODELS = () they are scored alone.
EXTERNAL_SAMPLES = {}  # such as {"QCBM": ("qcbm.npy", 120)}
EXTERNAL_PROBABILITIES = {}  # such as {"QCBM exact": ("probabilities.npy", 120)}

# The components of 2D_GMM: weights that sum to 1, means, and symmetric positive definite covariances.
MIXTURE_WEIGHTS = (0.25, 0.25, 0.25, 0.25)
MIXTURE_MEANS = ((1.5, 1.5), (1.5, -1.5), (-1.5, 1.5), (-1.5, -1.5))
MIXTURE_COVARIANCES = (
    ((0.5, 0.4), (0.4, 0.5)),
    ((0.5, -0.4), (-0.4, 0.5)),
    ((0.5, 0.0), (0.0, 0.5)),
    ((0.2, 0.0), (0.0, 0.8)),
)

# The families' own settings; what each means and may be stands beside it in models/<family>.py and in --help.
# fmt: off
GAN = dict(learning_rate=9e-4, discriminator_learning_rate=1.5e-3, adam_b1=0.5, latent_dim=16, label_smoothing=0.9, gumbel_temperature=2.3, r1_penalty=2.0, average=0.9999)  # noqa: E501
VAE = dict(learning_rate=3e-3, latent_dim=2, reconstruction="auto", beta=0.0, learn_sigma=False, average=0.9999)
RBM = dict(learning_rate=2e-3, algorithm="CD", k=1, sigma=0.25, learn_sigma=True, weight_scale=0.01, average=0.9999, sample_steps=1000, sample_steps_training=100)  # noqa: E501
WGAN = dict(learning_rate=5e-5, n_critic=5, clip=0.01, latent_dim=16, gumbel_temperature=2.3, average=0.0)
WGAN_GP = dict(learning_rate=5e-4, critic_learning_rate=1.5e-3, adam_b1=0.0, adam_b2=0.9, n_critic=5, penalty=3.0, one_sided=True, latent_dim=2, gumbel_temperature=2.3, average=0.999)  # noqa: E501
HISTOGRAM = dict(pseudo_count=0.5)
KDE = dict(bandwidth="scott")
GMM = dict(covariance_type="full", n_init=3, max_iter=100, variance_floor=1e-5, n_rows=32_768)
KMEANS = dict(n_init=3, max_iter=100, variance_floor=1e-5, n_rows=32_768)
VBGMM = dict(max_iter=200, weight_concentration_prior=0.0, mean_precision_prior=1.0, degrees_of_freedom_prior=0.0, n_draws=8, n_rows=32_768)  # noqa: E501
BBVI = dict(learning_rate=1e-2, n_gradient_draws=1, weight_concentration_prior=0.0, mean_precision_prior=1.0, degrees_of_freedom_prior=0.0, n_draws=8, n_rows=32_768, average=0.999)  # noqa: E501

# With LAUNCHER = "slurm" a sweep becomes a job array; what each setting means stands in resources.py and in --help.
SLURM = dict(partition="", account="", time_minutes=60, cpus=4, mem_gb=8, gpus=0, cells_per_task=1, seeds_per_task=0, options="")  # what a task asks for, and does  # noqa: E501
# fmt: on


def main(args: list[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
      args: command-line arguments; None: those of the process.

    Returns:
      The exit code: 0; 1 where results cannot be written, or with --strict where all seeds of a family have diverged;
      2 for input that cannot be run; 130 or 143 where Ctrl-C or SIGTERM has ended the run early. Before 1 and 2 one
      line on stderr says why.
    """
    try:
        # Imported here so that importing this file costs nothing and touches no device.
        from core import surroundings

        problem = surroundings.check()
        if problem:
            print(f"error: {problem}", file=sys.stderr)
            return 2
        with surroundings.without_display():
            from benchmark import command

            return command.run(globals(), args, description=__doc__)
    except KeyboardInterrupt:
        # Before anybody was listening.
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
