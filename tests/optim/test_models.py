"""Norms, products and scaled sums of tensors with a leading axis of models."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import Adam, AdamW, FriendlySAM, Lookahead, Muon, RAdam
from sksharp.optim._models import (
    add_product_,
    add_scaled_,
    expand,
    global_dot,
    global_norm,
)

SHAPES = {
    "a vector": [(7,)],
    "a number": [()],
    "a matrix": [(3, 4)],
    "several": [(3, 4), (), (5,)],
}


def make(shapes, model_shape, seed, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(*model_shape, *shape)) for shape in shapes]
    return [torch.from_numpy(np.asarray(array)).to(dtype) for array in arrays]


def as_vectors(tensors, model_ndim):
    """Return all entries of every model in a row, in double precision."""
    n_models = len(tensors[0]) if model_ndim else 1
    rows = [tensor.double().numpy().reshape(n_models, -1) for tensor in tensors]
    vectors = np.concatenate(rows, axis=1)
    return vectors if model_ndim else vectors[0]


@pytest.mark.parametrize("model_shape", [(), (3,)], ids=["one", "many"])
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_norms_and_products_are_those_of_all_tensors_as_one_vector(shapes, model_shape):
    model_ndim = len(model_shape)
    a, b = (make(shapes, model_shape, seed) for seed in (0, 1))
    u, v = as_vectors(a, model_ndim), as_vectors(b, model_ndim)
    assert_allclose(global_norm(a, model_ndim), np.linalg.norm(u, axis=-1), rtol=1e-14)
    assert_allclose(global_dot(a, b, model_ndim), (u * v).sum(-1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("model_shape", [(), (3,)], ids=["one", "many"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_norms_and_products_take_single_precision_at_least_under_autocast_too(
    dtype, model_shape
):
    model_ndim = len(model_shape)
    a, b = (make([(20, 50)], model_shape, seed, dtype) for seed in (0, 1))
    u, v = as_vectors(a, model_ndim), as_vectors(b, model_ndim)
    with torch.autocast("cpu", torch.bfloat16):
        norm, dot = global_norm(a, model_ndim), global_dot(a, b, model_ndim)
    assert norm.dtype == dot.dtype == torch.float32
    assert_allclose(norm, np.linalg.norm(u, axis=-1), rtol=1e-6)
    assert_allclose(dot, (u * v).sum(-1), rtol=0, atol=1e-6 * 1000)


@pytest.mark.parametrize("scale", [0.3, torch.tensor([0.0, 0.3, -2.0])])
def test_a_product_is_added_with_a_factor_and_a_scale_per_model(scale):
    target, source = make([(2, 4)], (3,), 0)[0], make([(2, 4)], (3,), 1)[0]
    factor = torch.tensor([1.5, 0.0, -1.0], dtype=torch.float64)
    each = np.broadcast_to(np.asarray(scale), 3) * factor.numpy()
    expected = target.numpy() + each[:, None, None] * source.numpy()
    assert_allclose(add_product_(target, source, factor, scale), expected, rtol=1e-7)


def test_a_value_per_model_is_spread_over_what_a_model_has():
    like = torch.zeros(3, 2, 4)
    assert expand(0.5, like) == 0.5
    assert expand(torch.tensor(0.5), like) == 0.5
    assert expand(torch.ones(3), like).shape == (3, 1, 1)


@pytest.mark.parametrize("factor", [1e6, 1e-9])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_factors_that_half_precision_does_not_hold_are_not_rounded(dtype, factor):
    source = torch.full((4,), 2.0**-10 if factor > 1 else 2.0**15, dtype=dtype)
    expected = (source.float() * factor).to(dtype)
    scale = torch.tensor(factor)
    for added in (
        add_product_(torch.zeros(4, dtype=dtype), source, scale, 1.0),
        add_scaled_(torch.zeros(4, dtype=dtype), source, expand(scale, source)),
    ):
        assert torch.isfinite(expected).all()
        assert expected.ne(0).all()
        assert torch.equal(added, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("given", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (Adam, "beta_1"),
        (AdamW, "beta_1"),
        (RAdam, "beta_1"),
        (Muon, "momentum"),
        (partial(Lookahead, k=2), "alpha"),
        (FriendlySAM, "decay"),
    ],
)
def test_a_hyperparameter_of_another_precision_is_the_number(
    optimizer, name, given, dtype
):
    weights = []
    for value in (0.75, torch.tensor(0.75, dtype=given)):
        w = nn.Parameter(torch.eye(2, 3, dtype=dtype))
        made = optimizer([w], lr=0.125, **{name: value})

        def closure(w=w):
            w.grad = None
            (w.float() ** 2 / 2).sum().backward()

        for _ in range(4):
            made.step(closure)
        weights.append(w.detach().float())
    assert_allclose(*weights, rtol=0.02 if dtype == torch.bfloat16 else 1e-6)
