"""Scores of models on rows that they are not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._input_noise import n_draws_of
from .._jobs import TrainingJob, Validation
from ._batches import CHUNK_BYTES
from ._bridge import to_array, to_parts, to_tensor, unflatten
from ._losses import Loss
from ._module import MLPModule
from ._temperature import TemperatureScaling


class Score(NamedTuple):
    """A validation score.

    ``inverse_temperature`` is that at which it was taken, if it is refined, and ``rows``
    are the losses of the rows, of shape (n_rows,), if it is minus their mean: of a row with
    several draws of noise the mean over these.
    """

    value: float
    inverse_temperature: float | None = None
    rows: Tensor | None = None


@torch.no_grad()
def outputs(
    module: MLPModule,
    loss: Loss,
    X: Any,
    flat: Tensor,
    device: torch.device,
    *,
    activates: bool = True,
) -> Tensor:
    """Return the outputs for rows, of shape (*model_shape, n_samples, n_outputs).

    Parameters
    ----------
    module : MLPModule
        The network.

    loss : Loss
        Its output layer's.

    X : array, sparse matrix or Tensor of shape (n_samples, n_features)
        Rows.

    flat : Tensor of shape (*model_shape, n_params)
        Weights.

    device : torch.device
        Where to compute.

    activates : bool, default=True
        Whether to apply the activation of the output layer.
    """
    width = max(module.layer_units) * flat[..., 0].numel()
    n_rows = max(1, CHUNK_BYTES // (flat.element_size() * width))
    parts = to_parts(X, n_rows, device)
    zs = (module(part, flat) for part in parts)
    return torch.cat([loss.activate_(z) if activates else z for z in zs], dim=-2)


class Holdout:
    """Rows for validation, and the models that are scored on them.

    Parameters
    ----------
    validation : Validation
        The rows.

    device : torch.device
        Where they lie, unless they are sparse.

    dtype : torch.dtype
        Of the network.

    out_activation : str
        Its output activation.
    """

    def __init__(
        self,
        validation: Validation,
        device: torch.device,
        dtype: torch.dtype,
        out_activation: str,
    ) -> None:
        self.models: list[int] = []
        rows = slice(None) if validation.rows is None else validation.rows
        X = validation.X[rows]
        noise, self.n_draws = validation.noise, 1
        if noise is not None:
            X, self.n_draws = noise.of(X), n_draws_of(X.shape[0])
        self.X = to_tensor(X, device=device) if isinstance(X, np.ndarray) else X
        self.y = self.sample_weight = self.scaling = None
        if validation.score is not None:
            return
        y = validation.y[rows]
        if noise is not None:
            y = noise.repeat(y)
        self.y = to_tensor(y, dtype=dtype, device=device)
        if validation.sample_weight is not None:
            weights = validation.sample_weight[rows]
            self.sample_weight = to_tensor(
                weights / weights.sum(), dtype=dtype, device=device
            )
        if validation.is_refined:
            self.scaling = TemperatureScaling(
                self.y,
                self.sample_weight,
                out_activation,
                self.n_draws,
            )

    def scores(self, loss: Loss, y_pred: Tensor) -> list[Score]:
        """Return minus the mean loss of the rows, one score per model."""
        rows = loss.row_losses(y_pred, self.y)  # type: ignore[arg-type]
        if self.n_draws > 1:
            rows = rows.view(*rows.shape[:-1], self.n_draws, -1).mean(-2)
        if self.sample_weight is None:
            means = rows.mean(-1, dtype=torch.float64)
        else:
            means = (rows * self.sample_weight).sum(-1, dtype=torch.float64)
        values: list[float] = to_array(means).reshape(-1).tolist()
        of_models = rows.view(-1, rows.shape[-1])
        return [
            Score(-value, rows=of_model)
            for value, of_model in zip(values, of_models, strict=True)
        ]

    def refined_scores(self, loss: Loss, z: Tensor) -> list[Score]:
        """Return minus the mean loss at the best temperature, one per model.

        Parameters
        ----------
        loss : Loss
            Of the networks.

        z : Tensor of shape (n_models, n_samples, n_outputs)
            Inputs of the output activation.
        """
        assert self.scaling is not None
        b = self.scaling.fit(z)
        y_pred = loss.activate_(z * b.to(z.dtype)[:, None, None])
        pairs = zip(self.scores(loss, y_pred), to_array(b).tolist(), strict=True)
        return [score._replace(inverse_temperature=each) for score, each in pairs]


class Validator:
    """The validation scores of the models of a training.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        One per model.

    module : MLPModule
        Their network.

    loss : Loss
        Its output layer's.

    device : torch.device
        Where it lies.
    """

    def __init__(
        self,
        jobs: Sequence[TrainingJob],
        module: MLPModule,
        loss: Loss,
        device: torch.device,
    ) -> None:
        self.module, self.loss, self.device = module, loss, device
        self._holdouts: dict[Any, Holdout] = {}
        self.keep(jobs)

    def keep(self, jobs: Sequence[TrainingJob]) -> None:
        """Go on with the models of these jobs."""
        before, self._holdouts, self.jobs = self._holdouts, {}, jobs
        dtype = self.module.flat.dtype
        for k, job in enumerate(jobs):
            if job.validation is None:
                continue
            key = _key(job.validation)
            if key not in self._holdouts:
                holdout = before.get(key)
                if holdout is None:
                    activation = job.settings.out_activation
                    holdout = Holdout(job.validation, self.device, dtype, activation)
                holdout.models = []
                self._holdouts[key] = holdout
            self._holdouts[key].models.append(k)

    def scores(self, flat: Tensor, wanted: Sequence[bool]) -> list[Score | None]:
        """Return scores, None for models that are not wanted.

        Parameters
        ----------
        flat : Tensor of shape (*model_shape, n_params)
            Their weights.

        wanted : sequence of bool
            Which ones to score.
        """
        scores: list[Score | None] = [None] * len(self.jobs)
        for holdout in self._holdouts.values():
            models = [k for k in holdout.models if wanted[k]]
            if not models:
                continue
            weights = flat
            if flat.ndim > 1 and len(models) < len(flat):
                weights = flat[models]
            found = self._scores(holdout, models, weights)
            for k, score in zip(models, found, strict=True):
                scores[k] = score
        return scores

    def score(self, k: int, weights: Tensor) -> Score:
        """Return the score of weights of shape (n_params,) of one model."""
        holdout = next(h for h in self._holdouts.values() if k in h.models)
        (score,) = self._scores(holdout, [k], weights)
        return score

    def _scores(
        self, holdout: Holdout, models: Sequence[int], flat: Tensor
    ) -> list[Score]:
        y_pred = outputs(
            self.module,
            self.loss,
            holdout.X,
            flat,
            self.device,
            activates=holdout.scaling is None,
        )
        if holdout.scaling is not None:
            z = y_pred.view(len(models), *y_pred.shape[-2:])
            return holdout.refined_scores(self.loss, z)
        if holdout.y is not None:
            return holdout.scores(self.loss, y_pred)
        arrays = to_array(y_pred).reshape(len(models), *y_pred.shape[-2:])
        rows = flat.view(len(models), -1)
        scores = []
        for k, array, row in zip(models, arrays, rows, strict=True):
            validation = self.jobs[k].validation
            assert validation is not None
            assert validation.score is not None
            weights = partial(unflatten, row, self.jobs[k].weights)
            scores.append(Score(validation.score(array, weights)))
        return scores


def _key(validation: Validation) -> Any:
    rows = None if validation.rows is None else validation.rows.tobytes()
    noise = validation.noise
    return (
        id(validation.X),
        id(validation.y),
        id(validation.sample_weight),
        rows,
        validation.score is None,
        validation.is_refined,
        None if noise is None else (noise.settings, noise.seed, noise.columns.key),
    )
