"""The optimizers in numpy, from their formulas only.

An optimizer is a function that takes the weights and a function of their gradient, and
returns the next weights. A wrapper takes another optimizer.
"""

import numpy as np


def sgd(lr, momentum=0.0, nesterov=False):
    v = 0.0

    def step(w, gradient):
        nonlocal v
        g = gradient(w)
        v = momentum * v - lr * g
        return w + (momentum * v - lr * g if nesterov else v)

    return step


def adam(lr, beta_1, beta_2, eps):
    t, m, v = 0, 0.0, 0.0

    def step(w, gradient):
        nonlocal t, m, v
        t, g = t + 1, gradient(w)
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        correction = np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        return w - lr * correction * m / (np.sqrt(v) + eps)

    return step


def adamw(lr, beta_1, beta_2, eps, decay):
    adam_step = adam(lr, beta_1, beta_2, eps)
    return lambda w, gradient: adam_step(w, gradient) - lr * decay * w


def schedule_free(lr, beta_1, decay, warmup, beta_2=None, eps=0.0):
    """Schedule-Free AdamW, or SGD without beta_2. The weights are y."""
    rates, v = [], 0.0
    x = z = None

    def step(y, gradient):
        nonlocal v, x, z
        x, z = (y, y) if x is None else (x, z)
        t, g = len(rates) + 1, gradient(y)
        rates.append(lr * min(1, t / warmup) if warmup else lr)
        if beta_2 is not None:
            v = beta_2 * v + (1 - beta_2) * g**2
            g = g / (np.sqrt(v / (1 - beta_2**t)) + eps)
        z = z - rates[-1] * (g + decay * y)
        c = rates[-1] ** 2 / np.sum(np.square(rates))
        x = (1 - c) * x + c * z
        return (1 - beta_1) * z + beta_1 * x

    return step


def radam(lr, beta_1, beta_2, eps):
    t, m, v = 0, 0.0, 0.0

    def step(w, gradient):
        nonlocal t, m, v
        t, g = t + 1, gradient(w)
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        direction = m / (1 - beta_1**t)
        if (r := rectifier(t, beta_2)) is not None:
            direction = r * direction * np.sqrt(1 - beta_2**t) / (np.sqrt(v) + eps)
        return w - lr * direction

    return step


def rectifier(t, beta_2):
    """RAdam's r_t, None while the variance is unknown."""
    longest = 2 / (1 - beta_2) - 1
    length = longest - 2 * t * beta_2**t / (1 - beta_2**t)
    if length <= 5:
        return None
    ratio = (length - 4) * (length - 2) / ((longest - 4) * (longest - 2))
    return np.sqrt(ratio * longest / length)


def lookahead(base, k, alpha):
    t, slow = 0, None

    def step(w, gradient):
        nonlocal t, slow
        slow = w if slow is None else slow
        t, w = t + 1, base(w, gradient)
        if t % k == 0:
            w = slow = slow + alpha * (w - slow)
        return w

    return step


def sam(base, rho):
    def step(w, gradient):
        g = gradient(w)
        perturbed = w + rho * g / np.linalg.norm(g)
        return base(w, lambda _: gradient(perturbed))

    return step


def asam(base, rho, eta, is_weight):
    def step(w, gradient):
        g = gradient(w)
        t = np.where(is_weight, abs(w) + eta, 1)
        perturbed = w + rho * t**2 * g / np.linalg.norm(t * g)
        return base(w, lambda _: gradient(perturbed))

    return step


def fisher_sam(base, rho, eta):
    def step(w, gradient):
        g = gradient(w)
        f = 1 + eta * g**2
        perturbed = w + rho * g / f / np.sqrt(g @ (g / f))
        return base(w, lambda _: gradient(perturbed))

    return step


def gsam(base, rho, alpha):
    def step(w, gradient):
        g = gradient(w)
        h = gradient(w + rho * g / np.linalg.norm(g))
        orthogonal = g - (g @ h) / (h @ h) * h
        return base(w, lambda _: h - alpha * orthogonal)

    return step


def friendly_sam(base, rho, sigma, decay):
    m = None

    def step(w, gradient):
        nonlocal m
        g = gradient(w)
        noise = g if m is None else g - sigma * (decay * m + (1 - decay) * g)
        m = g if m is None else decay * m + (1 - decay) * g
        if np.linalg.norm(noise) < 1e-14:
            noise = g
        perturbed = w + rho * noise / np.linalg.norm(noise)
        return base(w, lambda _: gradient(perturbed))

    return step


def looksam(base, rho, k, alpha):
    t, v = 0, 0.0

    def step(w, gradient):
        nonlocal t, v
        g, t = gradient(w), t + 1
        if (t - 1) % k:
            return base(w, lambda _: g + alpha * np.linalg.norm(g) * v)
        h = gradient(w + rho * g / np.linalg.norm(g))
        v = h - (h @ g) / (g @ g) * g
        v = v / np.linalg.norm(v) if np.linalg.norm(v) > 1e-14 else 0 * v
        return base(w, lambda _: h)

    return step


def some_steps(method, base, interval, start):
    """Take a step of a method's now and then, of the base optimizer's else."""
    t = -1

    def step(w, gradient):
        nonlocal t
        t += 1
        is_on = t >= start and (t - start) % interval == 0
        return (method if is_on else base)(w, gradient)

    return step


def weighted_asam(base, rho, eta, gamma, is_weight):
    kappa = gamma / (1 - gamma)

    def step(w, gradient):
        g = gradient(w)
        t = np.where(is_weight, abs(w) + eta, 1)
        h = gradient(w + rho * t**2 * g / np.linalg.norm(t * g))
        return base(w, lambda _: g + kappa * (h - g))

    return step


def wsam(base, rho, gamma, decoupled_lr=None):
    """WSAM, coupled unless it is told the rate of the decoupled term."""
    kappa = gamma / (1 - gamma)

    def step(w, gradient):
        g = gradient(w)
        sharpness = gradient(w + rho * g / np.linalg.norm(g)) - g
        if decoupled_lr is None:
            return base(w, lambda _: g + kappa * sharpness)
        return base(w, lambda _: g) - decoupled_lr * kappa * sharpness

    return step


def msam(base, rho, decay):
    """MSAM, given the decay of the momentum. The weights are the perturbed ones."""
    w, v = None, 0.0

    def step(perturbed, gradient):
        nonlocal w, v
        g = gradient(perturbed)
        v = decay * v + g
        w = base(perturbed if w is None else w, lambda _: g)
        return w - rho * v / np.linalg.norm(v)

    return step


def yellowfin(lr, beta, window, slow_start):
    """YellowFin, from all that it has seen, with the cubic solved numerically."""
    seen = {}
    velocity = 0.0

    def mean(name, value):
        values = seen.setdefault(name, [])
        values.append(value)
        weights = beta ** np.arange(len(values) - 1, -1, -1.0)
        return np.tensordot(weights / weights.sum(), np.array(values), 1)

    def step(w, gradient):
        nonlocal velocity
        g = gradient(w)
        h = g @ g
        h_mean = mean("h", h)
        recent = seen["h"][-window:]
        h_max = np.exp(mean("max", np.log(max(recent))))
        h_min = np.exp(mean("min", np.log(min(recent))))
        variance = np.sum(mean("square", g**2) - mean("gradient", g) ** 2)
        distance = mean("distance", mean("norm", np.sqrt(h)) / h_mean)
        x = optimal_root(distance**2 * h_min**2, max(variance, 0))
        kappa = np.sqrt(h_max / h_min)
        x = max(x, (kappa - 1) / (kappa + 1))
        momentum = mean("momentum", x**2)
        rate = mean("rate", (1 - x) ** 2 / h_min)
        rate *= lr * min(1, len(seen["h"]) / slow_start) if slow_start else lr
        velocity = momentum * velocity - rate * g
        return w + velocity

    return step


def optimal_root(a, c):
    """x in [0, 1] that minimizes a x^2 + c (1 - x)^4."""
    if c <= 1e-14 * a:
        return 0.0
    roots = np.roots([2 * c, -6 * c, 6 * c + a, -2 * c])  # a x = 2 c (1 - x)^3
    return float(roots[np.abs(roots.imag).argmin()].real)
