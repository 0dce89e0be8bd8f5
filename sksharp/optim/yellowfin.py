"""YellowFin: tunes the learning rate and the momentum of gradient descent."""

from math import inf
from typing import Any

import torch
from torch import Tensor

from ._base import Closure, Group, LightOptimizer, Params, State, evaluate, light_step
from ._checks import check_count, check_interval
from ._models import Hyperparameter, add_scaled_, expand, global_norm, model_sum
from ._tape import changing, count


class YellowFin(LightOptimizer):
    r"""Gradient descent whose rate and momentum minimize a local quadratic model.

    The gradient :math:`g_t` and its squared norm :math:`h_t = \|g_t\|^2`, in place of
    the curvature, give

    - the range of the curvature: the largest and the smallest :math:`h` of the last
      ``window`` steps, both averaged as logarithms, :math:`h_{\max}` and
      :math:`h_{\min}`;
    - the variance of the gradient
      :math:`C = \sum \left( \overline{g^2} - \overline{g}^2 \right)`;
    - the distance to the minimum
      :math:`D = \overline{\overline{\|g\|} / \overline{h}}`.

    The bar is an exponential average without bias, with a decay of ``beta``. With the
    root :math:`x` in [0, 1] of :math:`(1 - x)^3 = x D^2 h_{\min}^2 / (2 C)` and
    :math:`\kappa = h_{\max} / h_{\min}`

    .. math::
        \sqrt{\mu} = \max\left( x, \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1} \right), \quad
        \eta = \frac{(1 - \sqrt\mu)^2}{h_{\min}}, \qquad
        v \leftarrow \overline{\mu} v - \overline{\eta} g_t, \quad w \leftarrow w + v

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups, as in :class:`torch.optim.Optimizer`.

    lr : float or Tensor of shape (n_models,), default=1.0
        Factor of the tuned rate, not negative.

    beta : float, default=0.999
        Decay of the averages, in [0, 1).

    window : int, default=20
        Steps over which the range of the curvature is taken, >= 1.

    slow_start : int, default=200
        Steps over which the rate rises to the tuned one, not negative: the first
        measurements use few gradients.

    model_ndim : int, default=0
        Number of leading axes of every parameter that count models.

    Raises
    ------
    ValueError
        If a hyperparameter is out of its range.
    TypeError
        If ``window`` is no integer.

    See Also
    --------
    ScheduleFree : A later method without a schedule.

    Notes
    -----
    Kept for the lineage. It needs no learning rate, but later methods are the ones to
    use. What is measured is common to all groups and kept in the first one under the key
    ``"tuner"``. Gradients are not clipped.

    References
    ----------
    J. Zhang, I. Mitliagkas. "YellowFin and the art of momentum tuning." MLSys 2019.
    :arxiv:`1706.03471`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import YellowFin
    >>> w = torch.nn.Parameter(torch.tensor([0.0]))
    >>> optimizer = YellowFin([w], slow_start=0)
    >>> (4 * w).sum().backward()
    >>> _ = optimizer.step()  # no noise, one curvature: g / g^2
    >>> w.item()
    -0.25
    """

    capturable = True

    def __init__(
        self,
        params: Params,
        lr: Hyperparameter = 1.0,
        beta: float = 0.999,
        window: int = 20,
        slow_start: int = 200,
        *,
        model_ndim: int = 0,
    ) -> None:
        check_interval("lr", lr, 0)
        check_interval("beta", beta, 0, 1)
        check_count("window", window, 1)
        check_interval("slow_start", slow_start, 0)
        super().__init__(params, {"lr": lr})
        self.beta, self.window, self.slow_start = beta, window, slow_start
        self.model_ndim = model_ndim
        self.param_groups[0]["tuner"] = {}

    def __getstate__(self) -> dict[str, Any]:
        names = ("beta", "window", "slow_start", "model_ndim")
        own = {name: getattr(self, name) for name in names}
        return {**super().__getstate__(), **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # load_state_dict moves the state of parameters only
        device = self._params()[0].device
        self.param_groups[0]["tuner"] = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in self.param_groups[0].get("tuner", {}).items()
        }

    @light_step
    def step(self, closure: Closure | None = None) -> Any:
        """Measure the gradient, tune and update the parameters once.

        Parameters
        ----------
        closure : callable, default=None
            Clears the gradients, computes the loss, calls backward and returns the
            loss. Without it the gradients are taken as they are.

        Returns
        -------
        loss : object
            What ``closure`` returned, or None without one.
        """
        loss = None if closure is None else evaluate(closure)
        self._refuse_sparse()
        active = [
            (p, p.grad, group)
            for group in self.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        if not active:
            return loss
        momentum, rate = self._tune([grad for _, grad, _ in active])
        for p, grad, group in active:
            velocity = self.state[p]["velocity"]
            velocity.mul_(_like(momentum, p))
            add_scaled_(velocity, grad, -_like(rate * changing(_rate, group), p))
            p.add_(velocity)
        if closure is None and self._is_at_rest:
            self._forget()
        return loss

    def _forget(self) -> None:
        """Measure anew: a gradient of zero would be the smallest curvature for long."""
        tuner = self.param_groups[0]["tuner"]
        for name, value in tuner.items():
            tuner[name] = 0 * value
        for p in self._params():
            if p in self.state:
                self.state[p]["step"] = 0

    def _tune(self, grads: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the momentum and the rate of this step, one per model."""
        norm = global_norm(grads, self.model_ndim)
        norm = norm.clamp_min(torch.finfo(norm.dtype).tiny ** 0.25)
        tuner = self.param_groups[0]["tuner"]
        count(tuner, "step")
        curvature = norm.square()
        recent = curvature.unsqueeze(-1)
        if changing(_has_history, tuner):
            recent = torch.cat([tuner["recent"], recent], dim=-1)[..., -self.window :]
        else:  # of one shape in all checkpoints; the range of copies is that of one
            recent = recent.repeat_interleave(self.window, -1)
        tuner["recent"] = recent
        largest = self._averaged("largest", recent.amax(-1).log()).exp()
        smallest = self._averaged("smallest", recent.amin(-1).log()).exp()
        norm_over_curvature = self._averaged("norm", norm) / self._averaged(
            "curvature", curvature
        )
        distance = self._averaged("distance", norm_over_curvature)
        noise = self._variance().sqrt() / (distance * smallest)
        root = torch.maximum(single_step(noise), conditioning(largest / smallest))
        momentum = self._averaged("momentum", root.square())
        rate = self._averaged("rate", (1 - root).square() / smallest)
        if changing(_is_slow, tuner, self.slow_start):
            rate = rate * changing(_share_of_start, tuner, self.slow_start)
        return momentum, rate

    def _averaged(self, name: str, value: Tensor) -> Tensor:
        """Return the exponential average of a measurement, without bias."""
        tuner = self.param_groups[0]["tuner"]
        mean = self.beta * tuner.get(name, 0.0) + (1 - self.beta) * value
        tuner[name] = mean
        average: Tensor = mean / changing(_bias, tuner, self.beta)
        return average

    def _variance(self) -> Tensor:
        """Return the variance of the gradient, summed over all parameters."""
        parts: list[Tensor] = []
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    parts.append(self._variance_of(p, p.grad))
        return torch.stack([part.to(parts[0].device) for part in parts]).sum(0)

    def _variance_of(self, p: Tensor, grad: Tensor) -> Tensor:
        state, beta = self.state[p], self.beta
        if "velocity" not in state:
            zeros = {n: torch.zeros_like(p) for n in ("velocity", "mean", "mean_sq")}
            state.update(step=0, **zeros)
        count(state, "step")
        bias = changing(_bias, state, beta)
        mean = state["mean"].lerp_(grad, 1 - beta) / bias
        mean_sq = state["mean_sq"].lerp_(grad.square(), 1 - beta) / bias
        # a variance, but for rounding
        variance = (mean_sq - mean.square()).clamp_min_(0)
        dtype = torch.float32 if p.dtype in (torch.float16, torch.bfloat16) else None
        return model_sum(variance, self.model_ndim, dtype)


def _rate(group: Group) -> Hyperparameter:
    lr: Hyperparameter = group["lr"]
    return lr


def _has_history(tuner: State) -> bool:
    has_history: bool = tuner["step"] > 1
    return has_history


def _is_slow(tuner: State, slow_start: float) -> bool:
    is_slow: bool = tuner["step"] < slow_start
    return is_slow


def _share_of_start(tuner: State, slow_start: float) -> float:
    share: float = tuner["step"] / slow_start
    return share


def _bias(state: State, beta: float) -> float:
    bias: float = 1 - beta ** state["step"]
    return bias


def _like(value: Any, p: Tensor) -> Any:
    return expand(value.to(device=p.device, dtype=p.dtype), p)


def single_step(noise: Tensor) -> Tensor:
    r"""Return the root of the momentum that a noisy quadratic wants.

    It is :math:`x` in [0, 1] with :math:`(1 - x)^3 = p x` for
    :math:`p = 1 / (2 \nu^2)`, which minimizes :math:`x^2 + \nu^2 (1 - x)^4`.

    Parameters
    ----------
    noise : Tensor
        :math:`\nu = \sqrt{C} / (D h_{\min})`.
    """
    # y^3 + p y + p = 0 for y = x - 1, solved with hyperbolic functions: Cardano's formula
    # is the difference of two large numbers where the noise is small
    limits = torch.finfo(noise.dtype)
    s = (1.5 * 6**0.5) * noise
    s = s.clamp(limits.tiny**0.5, limits.max**0.5)
    root: Tensor = (1 - 3 * torch.sinh(torch.asinh(s) / 3) / s).clamp(0, 1)
    return root


def conditioning(ratio: Tensor) -> Tensor:
    """Return the root of the momentum that a range of curvatures wants."""
    root = ratio.clamp(1, inf).sqrt()
    return 1 - 2 / (
        root + 1
    )  # (root - 1) / (root + 1), also where the root is infinite
