"""The registry of families. A new family is one file here and one line in MODELS."""

from models import gan, rbm, vae

MODELS = {"GAN": gan, "VAE": vae, "RBM": rbm}
