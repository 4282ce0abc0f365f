"""The same work in eager PyTorch with its usual loop; run by an environment that has PyTorch and nothing of the suite.

    python3 torch_worker.py FAMILY JSON

The protocol is `worker.py`'s. One thread, since a second one only wakes up for nothing at these sizes, except where
the JSON says otherwise; Adam in its fused form; no value is read back inside the loop.
"""

import json
import math
import sys
import time

import torch
from torch import nn
from torch.nn import functional


def mlp(n_in, width, hidden_layers, n_out, activation):
    """Hidden layers of one width."""
    layers, n = [], n_in
    for _ in range(hidden_layers):
        layers += [nn.Linear(n, width), activation()]
        n = width
    return nn.Sequential(*layers, nn.Linear(n, n_out))


def target_sampler(facts, device):
    """Fresh draws of a Gaussian mixture [n, D], or their one-hot bins."""
    weights = torch.tensor(facts["weights"], device=device)
    means = torch.tensor(facts["means"], device=device)
    factors = torch.tensor(facts["factors"], device=device)
    low, high = facts["box"][0]
    n_bins = facts["num_bins"]

    def draw(n):
        part = torch.multinomial(weights, n, replacement=True)
        x = means[part] + (factors[part] @ torch.randn(n, means.shape[1], 1, device=device))[..., 0]
        if not n_bins:
            return x
        index = ((x[:, 0] - low) * (n_bins / (high - low))).long().clamp_(0, n_bins - 1)
        return functional.one_hot(index, n_bins).float()

    return draw


class Average:
    """The moving average of the weights."""

    def __init__(self, parameters, decay):
        self.parameters, self.decay, self.t = list(parameters), decay, 0
        self.average = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self):
        """After every step."""
        self.t += 1
        if self.decay:
            rate = max(1 - self.decay, 9 / (10 + self.t))
            torch._foreach_lerp_(self.average, self.parameters, rate)


def gan(facts, draw, device):
    """One step of a GAN."""
    settings, width, layers, n, k = (
        facts[name] for name in ("settings", "width", "hidden_layers", "batch_size", "event_dim")
    )
    one_hot = facts["num_bins"] > 0
    g = mlp(settings["latent_dim"], width, layers, k, lambda: nn.LeakyReLU(0.01)).to(device)
    d = mlp(k, width, layers, 1, lambda: nn.LeakyReLU(0.01)).to(device)
    betas = settings["adam_b1"], 0.999
    opt_g = torch.optim.Adam(g.parameters(), settings["learning_rate"], betas, fused=True)
    rate_d = settings["discriminator_learning_rate"] or settings["learning_rate"]
    opt_d = torch.optim.Adam(d.parameters(), rate_d, betas, fused=True)
    average = Average([*g.parameters(), *d.parameters()], settings["average"])
    real_label = torch.full((n, 1), settings["label_smoothing"], device=device)
    zeros, ones = torch.zeros(n, 1, device=device), torch.ones(n, 1, device=device)
    bce = functional.binary_cross_entropy_with_logits

    def step():
        real = draw(n)
        with torch.no_grad():
            fake = g(torch.randn(n, settings["latent_dim"], device=device))
            if one_hot:
                fake = functional.one_hot(torch.multinomial(fake.softmax(-1), 1)[:, 0], k).float()
        opt_d.zero_grad(set_to_none=True)
        penalised = settings["r1_penalty"] > 0
        if penalised:
            real.requires_grad_()
        logit = d(real)
        loss = bce(logit, real_label) + bce(d(fake), zeros)
        if penalised:
            (gradient,) = torch.autograd.grad(logit.sum(), real, create_graph=True)
            loss = loss + settings["r1_penalty"] / 2 * gradient.square().sum(-1).mean()
        loss.backward()
        opt_d.step()

        opt_g.zero_grad(set_to_none=True)
        fake = g(torch.randn(n, settings["latent_dim"], device=device))
        if one_hot:
            fake = functional.gumbel_softmax(fake, settings["gumbel_temperature"], hard=True)
        bce(d(fake), ones).backward()
        opt_g.step()
        average.update()

    return step


def vae(facts, draw, device):
    """One step of a VAE."""
    settings, width, layers, n, k = (
        facts[name] for name in ("settings", "width", "hidden_layers", "batch_size", "event_dim")
    )
    one_hot, latent = facts["num_bins"] > 0, settings["latent_dim"]
    encoder = mlp(k, width, layers, 2 * latent, nn.Tanh).to(device)
    decoder = mlp(latent, width, layers, k, nn.Tanh).to(device)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(parameters, settings["learning_rate"], fused=True)
    average = Average(parameters, settings["average"])
    beta = settings["beta"] or (1.0 if one_hot else 0.1)

    def step():
        x = draw(n)
        optimiser.zero_grad(set_to_none=True)
        mean, log_variance = encoder(x).chunk(2, -1)
        output = decoder(mean + (log_variance / 2).exp() * torch.randn(n, latent, device=device))
        rate = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1).mean()
        distortion = functional.cross_entropy(output, x) if one_hot else (x - output).square().sum(-1).mean()
        (distortion + beta * rate).backward()
        optimiser.step()
        average.update()

    return step


def rbm(facts, draw, device):
    """One step of an RBM with contrastive divergence, gradients by autograd as for the others."""
    settings, width, n, k = facts["settings"], facts["width"], facts["batch_size"], facts["event_dim"]
    one_hot = facts["num_bins"] > 0
    w = nn.Parameter(0.01 * torch.randn(k, width, device=device))
    a, b = (nn.Parameter(torch.zeros(size, device=device)) for size in (k, width))
    parameters = [w, a, b]
    if not one_hot:
        s = nn.Parameter(torch.full((k,), math.log(settings["sigma"]), device=device))
        parameters.append(s)
    optimiser = torch.optim.Adam(parameters, settings["learning_rate"], fused=True)
    average = Average(parameters, settings["average"])

    def hidden(v):
        return torch.addmm(b, v if one_hot else v * (-2 * s).exp(), w)

    def free_energy(v):
        quadratic = -v @ a if one_hot else ((v - a) * (-s).exp()).square().sum(-1) / 2
        return (quadratic - functional.softplus(hidden(v)).sum(-1)).mean()

    def step():
        x = draw(n)
        with torch.no_grad():
            h = torch.bernoulli(hidden(x).sigmoid())
            mean = torch.addmm(a, h, w.T)
            if one_hot:
                v = functional.one_hot(torch.multinomial(mean.softmax(-1), 1)[:, 0], k).float()
            else:
                v = mean + s.exp() * torch.randn_like(mean)
        optimiser.zero_grad(set_to_none=True)
        (free_energy(x) - free_energy(v)).backward()
        optimiser.step()
        average.update()

    return step


FAMILIES = {"GAN": gan, "VAE": vae, "RBM": rbm}


def main(family: str, facts: str) -> None:
    """Builds, warms up and serves."""
    facts = json.loads(facts)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(facts["threads"])
    step = FAMILIES[family](facts, target_sampler(facts, device), device)

    def run(n):
        for _ in range(n):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    run(20)
    print("ready", json.dumps({"version": torch.__version__, "device": device, "per_update": 1}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        run(int(line))
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
