"""The same work in eager PyTorch: DCGAN and VAE of 28 × 28, by the protocol of `worker.py`.

python3 images_torch.py FAMILY JSON
"""

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional
from torch_worker import Average

N_ROWS, SIDE = 4096, 28


def to_image(n_in, width, norm):
    """7 × 7 places of 2w channels, 14 × 14 of w, the image; logits."""

    def normed(n):
        return [nn.BatchNorm2d(n)] if norm else []

    return nn.Sequential(
        nn.ConvTranspose2d(n_in, 2 * width, 7, bias=not norm),
        *normed(2 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=not norm),
        *normed(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, 1, 4, 2, 1),
    )


def from_image(width, n_out, norm):
    """The other way."""
    middle = [nn.BatchNorm2d(2 * width)] if norm else []
    return nn.Sequential(
        nn.Conv2d(1, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1, bias=not norm),
        *middle,
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, n_out, 7),
        nn.Flatten(),
    )


def gan(facts, rows):
    """One step of a DCGAN."""
    width, n, settings = facts["width"], facts["batch_size"], facts["settings"]
    latent = settings["latent_dim"]
    g, d = to_image(latent, width, True), from_image(width, 1, True)
    opt_g, opt_d = (torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999), fused=True) for net in (g, d))
    average = Average([*g.parameters(), *d.parameters()], 0.9999)
    bce = functional.binary_cross_entropy_with_logits
    real_label, zeros, ones = torch.full((n, 1), 0.9), torch.zeros(n, 1), torch.ones(n, 1)

    def step():
        real = rows[torch.randint(len(rows), (n,))]
        with torch.no_grad():
            fake = g(torch.randn(n, latent, 1, 1)).sigmoid()
        opt_d.zero_grad(set_to_none=True)
        (bce(d(2 * real - 1), real_label) + bce(d(2 * fake - 1), zeros)).backward()
        opt_d.step()
        opt_g.zero_grad(set_to_none=True)
        bce(d(2 * g(torch.randn(n, latent, 1, 1)).sigmoid() - 1), ones).backward()
        opt_g.step()
        average.update()

    return step


def vae(facts, rows):
    """One step of a VAE with a Bernoulli decoder."""
    width, n, latent = facts["width"], facts["batch_size"], facts["settings"]["latent_dim"]
    encoder, decoder = from_image(width, 2 * latent, False), to_image(latent, width, False)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimiser, average = torch.optim.Adam(parameters, 3e-3, fused=True), Average(parameters, 0.9999)

    def step():
        x = rows[torch.randint(len(rows), (n,))]
        optimiser.zero_grad(set_to_none=True)
        mean, log_variance = encoder(2 * x - 1).chunk(2, -1)
        z = mean + (log_variance / 2).exp() * torch.randn(n, latent)
        output = decoder(z[:, :, None, None])
        rate = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1).mean()
        (functional.binary_cross_entropy_with_logits(output, x, reduction="sum") / n + rate).backward()
        optimiser.step()
        average.update()

    return step


def main(family: str, facts: str) -> None:
    """Builds, warms up and serves."""
    facts = json.loads(facts)
    torch.set_num_threads(facts["threads"])
    step = {"GAN": gan, "VAE": vae}[family](facts, torch.rand(N_ROWS, 1, SIDE, SIDE))

    def run(n):
        for _ in range(n):
            step()

    run(5)
    print("ready", json.dumps({"version": torch.__version__, "per_update": 1}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        run(int(line))
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
