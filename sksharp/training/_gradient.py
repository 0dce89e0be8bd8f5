"""Loss and gradient of a network, written out layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..optim._models import Hyperparameter, add_scaled_, expand
from ._dropout import Masks
from ._losses import Loss
from ._module import MLPModule, product


@dataclass(slots=True)
class Batch:
    """Rows of one step.

    Parameters
    ----------
    X : Tensor of shape (n_samples, n_features)
        Rows, dense or sparse. Dense ones, and all else here, may lead with a model axis.

    y : Tensor of shape (n_samples, n_outputs)
        Targets.

    sample_weight : Tensor of shape (n_samples,) or None
        Weights of the rows.

    weight_sum : float or Tensor of shape (n_models,)
        Sum of the weights, or number of rows.

    minibatch_weight_sum : float, Tensor of shape (n_models,) or None, default=None
        That of the minibatch that these rows are a part of, None if they are all of it.

    masks : tuple of (Tensor or None), default=()
        What multiplies the outputs of every hidden layer, of shape (n_samples, width): the
        same in all passes of a step. Empty without dropout.
    """

    X: Tensor
    y: Tensor
    sample_weight: Tensor | None
    weight_sum: Hyperparameter
    minibatch_weight_sum: Hyperparameter | None = None
    masks: Masks = ()

    def __len__(self) -> int:
        return self.y.shape[-2]

    def cut(self, size: int) -> list[tuple[slice, Batch]]:
        """Return parts of at most ``size`` rows, each with the slice of its rows.

        The mean of their objectives, weighted by ``weight_sum``, is that of the minibatch.
        """
        n_samples = len(self)
        if size >= n_samples:
            return [(slice(0, n_samples), self)]
        starts = range(0, n_samples, size)
        return [
            (rows, self.part(rows))
            for rows in (slice(s, min(s + size, n_samples)) for s in starts)
        ]

    def part(self, rows: slice) -> Batch:
        """Return the rows of a range, as a part of the minibatch."""
        if self.X.is_sparse:
            indices = torch.arange(rows.start, rows.stop, device=self.X.device)
            X = self.X.index_select(0, indices)
        else:
            X = self.X[..., rows, :]
        y, weights = self.y[..., rows, :], self.sample_weight
        masks = tuple(m if m is None else m[..., rows, :] for m in self.masks)
        if weights is None:
            n_samples = rows.stop - rows.start
            return Batch(X, y, None, n_samples, self.penalty_divisor, masks)
        weights = weights[..., rows]
        return Batch(X, y, weights, weights.sum(-1), self.penalty_divisor, masks)

    def take(self, rows: Tensor) -> Batch:
        """Return some rows of a minibatch without weights, given by their indices.

        Parameters
        ----------
        rows : Tensor of int of shape (n_rows,) or (n_models, n_rows)
            Their indices. Of sparse rows the others stay, with a weight of zero.
        """
        if self.X.is_sparse:
            weights = self.y.new_zeros(*rows.shape[:-1], len(self))
            return self.reweigh(weights.scatter_(-1, rows, 1))
        X, y = _take(self.X, rows), _take(self.y, rows)
        masks = tuple(m if m is None else _take(m, rows) for m in self.masks)
        return Batch(X, y, None, rows.shape[-1], self.penalty_divisor, masks)

    def reweigh(self, sample_weight: Tensor) -> Batch:
        """Return the same rows with other weights."""
        return replace(
            self,
            sample_weight=sample_weight,
            weight_sum=sample_weight.sum(-1),
            minibatch_weight_sum=self.penalty_divisor,
        )

    @property
    def penalty_divisor(self) -> Hyperparameter:
        """What the penalty is divided by."""
        whole = self.minibatch_weight_sum
        return self.weight_sum if whole is None else whole


def _take(source: Tensor, rows: Tensor, out: Tensor | None = None) -> Tensor:
    """Gather rows of (n_samples, width) or (n_models, n_samples, width)."""
    if source.ndim == 2 and rows.ndim == 1:
        return torch.index_select(source, 0, rows, out=out)
    n_models = len(rows) if rows.ndim == 2 else len(source)
    index = rows.expand(n_models, rows.shape[-1]).unsqueeze(-1)
    source = source.expand(n_models, *source.shape[-2:])
    return torch.take_along_dim(source, index, -2, out=out)


def objective(
    module: MLPModule, loss: Loss, alpha: Hyperparameter, batch: Batch
) -> Tensor:
    """Return what training descends on, one value per model, for autograd.

    The reference for :class:`Backprop`, and the objective of any network that has no
    gradient written out.
    """
    z = module(batch.X, masks=batch.masks)
    rows = loss.row_objectives(z, batch.y)
    if batch.sample_weight is not None:
        rows = rows * batch.sample_weight
    squares = module.flat[..., : module.n_weights].square().sum(-1)
    return (rows.sum(-1) + alpha * squares / 2) / batch.weight_sum


@dataclass(slots=True)
class _Buffers:
    """Memory of the passes over a batch of one size.

    Parameters
    ----------
    hidden : list of Tensor of shape (*model_shape, n_samples, width)
        Outputs of the hidden layers.

    deltas : list of Tensor of shape (*model_shape, n_samples, width)
        Gradients with respect to the inputs of all layers' activations. That of a single
        hidden layer below a single output is in the memory of the layer's output.

    ones : Tensor of shape (*model_shape, 1, n_samples)
        Sums the rows of a delta by a product, the fastest way.

    dropped : list of Tensor of shape (*model_shape, n_samples, width)
        What dropout leaves of the outputs of the hidden layers. Empty before the first
        batch with masks.
    """

    hidden: list[Tensor]
    deltas: list[Tensor]
    ones: Tensor
    dropped: list[Tensor] = field(default_factory=list)
    # the last share of a row that is the same for all models, and as a tensor
    _share: float = math.nan
    _share_tensor: Tensor | None = None

    def outputs(self, masks: Masks) -> list[Tensor]:
        """Return where the layers above read the outputs of the hidden layers."""
        if not masks:
            return self.hidden
        if not self.dropped:
            self.dropped = [
                out if mask is None else torch.empty_like(out)
                for out, mask in zip(self.hidden, masks, strict=True)
            ]
        return self.dropped

    def share(self, batch: Batch, like: Tensor) -> Tensor:
        """Return one over the divisor of a batch's sum, to multiply a delta by.

        A tensor, because torch converts a number in every call.
        """
        share = 1 / _divisor(batch)
        if isinstance(share, Tensor):
            # a single number is of double precision, and rounded once
            return expand(share.to(like.dtype), like)  # type: ignore[return-value]
        if self._share_tensor is None:
            self._share_tensor = like.new_empty(())
        if share != self._share:
            self._share = share
            self._share_tensor.fill_(share)
        return self._share_tensor


class Backprop:
    """Prediction and gradient of a network on a batch, into buffers made once.

    Parameters
    ----------
    module : MLPModule
        The network. Its gradient is written to ``module.flat.grad``, whose memory stays
        the same.

    loss : Loss
        Of the output layer.

    alpha : float or Tensor of shape (n_models,)
        Strength of the penalty on the squared weights.
    """

    def __init__(self, module: MLPModule, loss: Loss, alpha: Hyperparameter) -> None:
        flat = module.flat.detach()
        grad = torch.zeros_like(flat)
        module.flat.grad = grad
        self.flat, self.grad, self.model_shape = flat, grad, flat.shape[:-1]
        self.layer_units = module.layer_units
        self.hidden_activation, self.loss = module.activation, loss
        self.coefs, intercepts = module.split(flat)
        self.coefs_t = [coef.transpose(-1, -2) for coef in self.coefs]
        self.intercepts = [b.unsqueeze(-2) for b in intercepts]
        self.coef_grads, intercept_grads = module.split(grad)
        self.intercept_grads = [g.unsqueeze(-2) for g in intercept_grads]
        # what is penalized, and the gradient of the penalty
        self.weights = flat[..., : module.n_weights]
        self.weight_grads = grad[..., : module.n_weights]
        self.alpha = expand(alpha, flat)
        is_free = not isinstance(alpha, Tensor) and alpha == 0
        self.is_penalized = not is_free
        self._contiguous: list[Tensor] = []
        if self.model_shape:
            # torch takes the models of a product one by one, unless the result is
            # contiguous, which a layer of all models is not
            parts = [*self.coef_grads, *self.intercept_grads]
            self._contiguous = [g.new_empty(g.shape) for g in parts]
        # the products of many models take a leading axis
        self._mm = torch.bmm if self.model_shape else torch.mm
        # whether the delta of the hidden layer is that of the one output, times a weight
        # per unit: the gradients, which are smaller than it, are multiplied instead
        self._defers_weights = self.layer_units[2:] == [1]
        self._buffers: dict[int, _Buffers] = {}

    def __call__(self, batch: Batch, y_pred: Tensor) -> None:
        """Write the gradient, and the prediction for the rows.

        Parameters
        ----------
        batch : Batch
            Rows. Their ``X`` may lack the model axis.

        y_pred : Tensor of shape (*model_shape, n_samples, n_outputs)
            Where the prediction is written.
        """
        self.predict(batch, y_pred)
        self.differentiate(batch, y_pred)

    def predict(self, batch: Batch, y_pred: Tensor) -> None:
        """Write the prediction for the rows, of the shape that a call writes."""
        buffers = self._buffers_for(len(batch))
        self._forward(self._rows(batch), buffers, y_pred, batch.masks)

    def differentiate(self, batch: Batch, y_pred: Tensor) -> None:
        """Write the gradient, given what :meth:`predict` wrote last for these rows."""
        buffers, X = self._buffers_for(len(batch)), self._rows(batch)
        delta = self.loss.differentiate(y_pred, batch.y, buffers.deltas[-1])
        if batch.sample_weight is not None:
            delta.mul_(batch.sample_weight.unsqueeze(-1))
        delta.mul_(buffers.share(batch, delta))
        self._backward(X, buffers, batch.masks)
        if self.is_penalized:
            scale = self._penalty_scale(batch.penalty_divisor)
            add_scaled_(self.weight_grads, self.weights, scale)

    def _penalty_scale(self, divisor: Hyperparameter) -> Hyperparameter:
        alpha = self.alpha
        if not isinstance(divisor, Tensor) or divisor.ndim:
            return alpha / expand(divisor, self.weights)
        # one number of double precision. A float over a tensor is a product with the
        # reciprocal in torch, which rounds otherwise
        if not isinstance(alpha, Tensor):
            alpha = torch.full_like(divisor, alpha)
        return (alpha / divisor).to(self.flat.dtype)

    def select(self, batch: Batch, rows: Tensor) -> Batch:
        """Return some rows of a batch, as :meth:`Batch.take`, predicted as all were.

        To be called after :meth:`predict` wrote to :meth:`scratch`, as if it had
        predicted these rows alone. They must be fewer than those of the batch.
        """
        part = batch.take(rows)
        if part.sample_weight is None:
            all_rows, some = self._buffers_for(len(batch)), self._buffers_for(len(part))
            before, after = all_rows.outputs(batch.masks), some.outputs(part.masks)
            for source, target in zip(
                [*all_rows.hidden, *before, all_rows.deltas[-1]],
                [*some.hidden, *after, some.deltas[-1]],
                strict=True,
            ):
                _take(source, rows, out=target)
        return part

    def _rows(self, batch: Batch) -> Tensor:
        X = batch.X
        if self.model_shape and X.ndim == 2 and not X.is_sparse:
            X = X.expand(*self.model_shape, *X.shape)
        return X

    def write_weight_norm(self, out: Tensor) -> None:
        """Write the Euclidean norm of all weights, one per model."""
        torch.linalg.vector_norm(self.weights, dim=-1, out=out)

    def scratch(self, n_samples: int) -> Tensor:
        """Return memory for a prediction that is not read.

        It is where the next gradient is computed.
        """
        return self._buffers_for(n_samples).deltas[-1]

    def _buffers_for(self, n_samples: int) -> _Buffers:
        # few sizes: whole batches, the short last one, and parts of both
        buffers = self._buffers.get(n_samples)
        if buffers is None:
            new, shape = self.flat.new_empty, self.model_shape
            deltas = [new(*shape, n_samples, width) for width in self.layer_units[1:]]
            hidden = deltas[:-1]
            if not self._defers_weights:
                hidden = [torch.empty_like(delta) for delta in hidden]
            buffers = _Buffers(hidden, deltas, new(*shape, 1, n_samples).fill_(1))
            self._buffers[n_samples] = buffers
        return buffers

    def _forward(
        self, X: Tensor, buffers: _Buffers, y_pred: Tensor, masks: Masks
    ) -> None:
        activate_, below = self.hidden_activation.apply_, X
        dropped = buffers.outputs(masks)
        for i, out in enumerate(buffers.hidden):
            self._affine(i, below, out)
            below = activate_(out)
            if masks and (mask := masks[i]) is not None:
                below = torch.mul(below, mask, out=dropped[i])
        out = y_pred
        if self._contiguous:
            # a minibatch's part of what the whole chunk predicts is not contiguous
            out = buffers.deltas[-1]
        self._affine(len(buffers.hidden), below, out)
        self.loss.activate_(out)
        if out is not y_pred:
            y_pred.copy_(out)

    def _affine(self, i: int, below: Tensor, out: Tensor) -> None:
        if below.is_sparse:
            torch.add(product(below, self.coefs[i]), self.intercepts[i], out=out)
            return
        # not addmm, which copies the intercepts to all rows before it adds the product
        self._mm(below, self.coefs[i], out=out)
        out.add_(self.intercepts[i])

    def _backward(self, X: Tensor, buffers: _Buffers, masks: Masks) -> None:
        outputs, deltas = buffers.outputs(masks), buffers.deltas
        scale: Tensor | None = None
        for i in range(len(deltas) - 1, -1, -1):
            delta = deltas[i]
            below = outputs[i - 1] if i else X
            if below.is_sparse:
                _write(product(below.t(), delta), self.coef_grads[i], scale)
            else:
                self._product(
                    below.transpose(-1, -2), delta, self.coef_grads[i], i, scale
                )
            index = i - len(deltas)
            self._product(buffers.ones, delta, self.intercept_grads[i], index, scale)
            if not i:
                return
            if self._defers_weights:  # the delta stays that of the output
                scale = self.coefs_t[i]
            else:
                delta = self._mm(delta, self.coefs_t[i], out=deltas[i - 1])
            out = deltas[i - 1]
            self.hidden_activation.differentiate(delta, buffers.hidden[i - 1], out)
            if masks and (mask := masks[i - 1]) is not None:
                out.mul_(mask)

    def _product(
        self, a: Tensor, b: Tensor, out: Tensor, index: int, scale: Tensor | None
    ) -> None:
        if not self._contiguous:
            _write(torch.mm(a, b, out=out), out, scale)
            return
        result = self._contiguous[index]
        if b.shape[-1] == 1:  # faster as one row than as one column
            torch.bmm(b.mT, a.mT, out=result.mT)
        else:
            torch.bmm(a, b, out=result)
        _write(result, out, scale)


def _write(source: Tensor, out: Tensor, scale: Tensor | None) -> None:
    if scale is not None:
        torch.mul(source, scale, out=out)
    elif source is not out:
        out.copy_(source)


def _divisor(batch: Batch) -> Hyperparameter:
    """Return the sum of the weights, 1 where a part of a minibatch has no weight."""
    weight_sum = batch.weight_sum
    if batch.minibatch_weight_sum is None or not isinstance(weight_sum, Tensor):
        return weight_sum
    return torch.where(weight_sum == 0, 1, weight_sum)
