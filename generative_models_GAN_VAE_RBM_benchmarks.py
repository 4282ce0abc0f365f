"""How close does a GAN, a VAE or an RBM of P trainable parameters come to a given distribution?

Edit a constant below and run `python3 generative_models_GAN_VAE_RBM_benchmarks.py`, or set any of them for one run on
the command line (`--target-type 1D_BETA --num-bins 0`; `--help` lists all). Pictures and numbers go to OUT_DIR.
"""

import sys

# What to learn: 1D_BIMODAL, 1D_TRIMODAL, 1D_QUADMODAL, 1D_BETA, 1D_POISSON, 2D_MIX_GAUSS, 2D_GMM,
# 2D_RING, 2D_GRID, 2D_MOONS, 2D_CIRCLES, 2D_SPIRALS, 2D_PINWHEEL, 2D_CHECKERBOARD or CUSTOM; with
# bins also 1D_PROBABILITIES; with NUM_BINS = 0 also BITS_BARS_STRIPES, BITS_CARDINALITY,
# BITS_PARITY, BITS_GAUSSIAN, BITS_LOGNORMAL, BITS_BLOBS, BITS_ISING or BITS_CUSTOM, and
# IMAGE_DIGITS, IMAGE_MNIST, IMAGE_FASHION_MNIST, IMAGE_SHAPES_RGBD or IMAGE_CUSTOM.
TARGET_TYPE = "1D_TRIMODAL"  # the distribution to learn
NUM_BINS = 20  # one-hot cells of a target on a line; 0: continuous
N_SAMPLES_TRAIN = 0  # rows of a fixed training set, and as many held out; 0: fresh draws
BITS = dict(n=12, height=4, width=4)  # of bit strings: their length, or their lattice, and more
IMAGES = dict(labels=(), anomaly_labels=())  # of images: the classes learnt, those kept out, files
CUSTOM_FILE = ""  # .npy or .csv of 1 or 2 columns, 20 rows or more (with CUSTOM)
CUSTOM_PROBABILITIES = ""  # file of NUM_BINS probabilities, one a row (with 1D_PROBABILITIES)
MIXTURE_WEIGHTS = (0.25, 0.25, 0.25, 0.25)  # of components, sum 1 (with 2D_GMM)
MIXTURE_MEANS = ((1.5, 1.5), (1.5, -1.5), (-1.5, 1.5), (-1.5, -1.5))  # of components (with 2D_GMM)
MIXTURE_COVARIANCES = (  # of components, symmetric and positive definite (with 2D_GMM)
    ((0.5, 0.4), (0.4, 0.5)),
    ((0.5, -0.4), (-0.4, 0.5)),
    ((0.5, 0.0), (0.0, 0.5)),
    ((0.2, 0.0), (0.0, 0.8)),
)

# Who learns it, and how large: GAN, VAE, RBM, WGAN, WGAN_GP, HISTOGRAM, KDE, GMM, KMEANS, VBGMM and
# BBVI are there; for bit strings also BERNOULLI_MIXTURE, UNIFORM, PRODUCT and CHOW_LIU, and with
# BITS_ISING the samplers GIBBS, METROPOLIS and SWENDSEN_WANG; for images GAN, VAE, RBM, WGAN,
# WGAN_GP, VAE_GAN, BERNOULLI_MIXTURE, PRODUCT and PPCA.
MODELS = ("GAN", "VAE", "RBM")  # families to train; (): none
PARAMETER_BUDGET = 1600  # trainable weights of a family, all its networks together
HIDDEN_LAYERS = 2  # hidden layers of every multilayer perceptron

# For how long, and how often.
N_STEPS = 20_000  # training steps, one minibatch each
N_EPOCHS = 0  # steps of so many passes over a fixed training set; 0: N_STEPS
BATCH_SIZE = 128  # rows of a minibatch
NUM_SEEDS = 4  # independent repetitions of every family
SEED = 42  # root of all randomness

# How it is scored and shown.
N_EVALUATIONS = 40  # scores during training; every snapshot has one besides
EVALUATION_SPACING = "log"  # scores at growing steps, or linear: at equal distances
N_EVAL_SAMPLES = 5_000  # draws from a model for one score
KLD_CELLS = 0  # histogram cells an axis; 0: 50 on a line, 30 in a plane
KLD_EPSILON = 1e-10  # what an empty cell is taken to hold
DECODE = "hard"  # score the drawn cell, or soft: the expected position (with bins)
SNAPSHOT_PERCENT = 5  # % of the training between two timeline pictures; divides 100

# Where results go.
OUT_DIR = "results_classical_benchmarks"  # folder that everything is written to
COMPILATION_CACHE = "on"  # keep compiled programs in a private folder: the next run starts sooner

# Many runs: all combinations of SWEEP = {"PARAMETER_BUDGET": (310, 1000), "SEED": (1, 2)}, here
# ("local") or as the tasks of a cluster ("slurm").
SWEEP = {}  # constant -> values to try
SWEEP_PICTURES = True  # whether every run of a sweep draws its own pictures
LAUNCHER = "local"  # where the runs of a sweep take place
SLURM = dict(time_minutes=60, cpus=4, mem_gb=8)  # what a task asks for (docs/cluster.md)

# From elsewhere, such as {"QCBM": ("qcbm.npy", 120)}; with MODELS = () they are scored alone.
EXTERNAL_SAMPLES = {}  # scored beside the families: name, file of rows, parameters or None
EXTERNAL_PROBABILITIES = {}  # name, file of probabilities, parameters or None (with bins or bits)

# Settings of families. A family without a line has its defaults; WGAN = dict(clip=0.02) is such a
# line. docs/constants.md and --help list all settings.
GAN = dict(
    learning_rate=0.0,  # of the generator's Adam; 0: 6e-4 (bits), 9e-4
    discriminator_learning_rate=1.5e-3,  # of the discriminator's Adam; 0: the generator's
    adam_b1=0.5,  # first-moment decay of both
    latent_dim=0,  # length of z; 0: 2 (bits), 100 (images), 16
    label_smoothing=0.9,  # s: what D should answer on real data; 1: no smoothing
    gumbel_temperature=0.0,  # τ of a relaxed draw; 0: 0.7 (bits), 2.3 (with bins or bits)
    r1_penalty=2.0,  # γ of γ/2 · E_p ‖∇ logit D‖²; 0: off
    spectral_norm=False,  # divide D's kernels by their largest singular values
    weight_decay=0.0,  # the generator's weights shrink by it times the rate; 0: 0.15 (bits), none
    average=0.9999,  # decay of the averaged weights that sample; 0: off
)
VAE = dict(
    learning_rate=3e-3,  # of Adam
    latent_dim=0,  # length of z; 0: 20 (images), 2
    reconstruction="auto",  # which loss; auto: squared_error if continuous, otherwise cross_entropy
    beta=0.0,  # weight of the KL term; 0: 0.1 with squared_error, 1 with cross_entropy
    free_bits=0.5,  # λ: the mean rate of a minibatch is free up to this value; 0: off
    warm_up=0,  # steps in which β rises to its value; 0: none
    learn_sigma=False,  # train σ of p(x|z), with β = 1 (with squared_error)
    average=0.9999,  # decay of the averaged weights that sample; 0: off
)
RBM = dict(
    learning_rate=2e-3,  # of Adam
    algorithm="auto",  # chains start at the data (CD) or go on (PCD); auto: PCD for bits, images
    k=0,  # Gibbs sweeps of the negative phase a step; 0: 5 (bits, images), 1
    sigma=0.25,  # σ of the visibles at the start (if continuous)
    learn_sigma=True,  # train ln σ, one a visible unit (if continuous)
    weight_scale=0.0,  # deviation of first weights; 0: 0.1 (line, bits), 0.02 (plane), 0.01
    average=0.9999,  # decay of the averaged weights that sample; 0: off
    sampler="exact",  # samples come from the known density, or from Gibbs chains (if continuous)
    sample_steps=1000,  # Gibbs sweeps before a sample for the final score (with gibbs or images)
    sample_steps_training=100,  # the same for scores in mid-training (with gibbs or images)
)


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
        from benchmark.terminal import streams
        from core import surroundings

        problem = surroundings.check()
        if problem:
            print(f"error: {problem}", file=streams.Tolerant(sys.stderr))
            return 2
        with surroundings.without_display():
            from benchmark import command

            return command.run(globals(), args, description=__doc__)
    except KeyboardInterrupt:
        # Before anybody was listening.
        return 130


if __name__ == "__main__":
    from core import interruption

    interruption.own_process()
    raise SystemExit(main())
