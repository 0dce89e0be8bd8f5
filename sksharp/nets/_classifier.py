"""A skorch classifier with this package's solvers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import scipy.sparse
import torch
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_y
from skorch import NeuralNetClassifier
from skorch.utils import to_numpy
from torch import Tensor, nn

from .._jobs import Array
from ..estimators._class_weights import weights_of_several
from ._inputs import refuse_no_targets, refuse_outputs
from ._losses import plain
from ._net import FlatNet

# criteria that take one output for every class, and one that says yes or no
_BY_CLASS = nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss
_BINARY = nn.BCEWithLogitsLoss, nn.BCELoss
# those of several labels that take logits
_OF_LOGITS = nn.BCEWithLogitsLoss, nn.MultiLabelSoftMarginLoss


class SAMNetClassifier(FlatNet, NeuralNetClassifier):
    r"""Train any torch module as a classifier, to flat minima.

    It is a skorch net: skorch's parameters, callbacks and methods work, and what skorch
    does, skorch does. Added are the solvers and the other words of
    :class:`~sksharp.SAMMLPClassifier`.

    Parameters
    ----------
    module : class, object or function
        A :class:`torch.nn.Module`, or a function that makes one, given the parameters
        ``module__...``. It returns the input of the criterion: with the default one output
        for every class, (n_rows, n_classes), without softmax. If its constructor has
        arguments ``n_features_in`` or ``n_outputs``, they are the number of columns and of
        classes. Of an object every fit trains a copy, from the weights that it has.

    criterion : class or object, default=torch.nn.CrossEntropyLoss
        The loss. :class:`torch.nn.NLLLoss` takes probabilities, as in skorch, and
        :class:`torch.nn.BCEWithLogitsLoss` one output for two classes, or one for each of
        several labels.

    solver : str or :class:`sksharp.options.Solver`, default='sam'
        Name of a solver, or an object with its options.

    base_solver : str, :class:`sksharp.options.Solver` or class, default='adam'
        What takes the step after the ascent, or a class of :mod:`torch.optim`. Its
        arguments are ``optimizer__...``, such as ``optimizer__beta_1``. Only used when
        ``solver`` takes two gradients.

    rho : float, 'auto' or array-like of float, default=0.05
        Radius of the neighborhood, in the Euclidean norm over all parameters. Of a list
        the one with the lowest validation loss is chosen, each by a fit of its own, and
        the net is then fitted with it. 'auto' tries three. ``partial_fit`` does not
        choose, and begins with 0.05.

    lr : float, default=0.001
        Learning rate, the largest of the ``learning_rate`` schedule.

    learning_rate : str or schedule, default='constant'
        'constant', 'cosine', 'cyclic', 'onecycle', 'step', 'multistep', 'exponential' or
        an object of :mod:`sksharp.options`. skorch's ``LRScheduler`` works as well.

    warmup : float or int, default=0
        Share of the training, if float, or epochs, if int, in which the rate rises.

    max_epochs : int, default=10
        Epochs of a fit, and of a call of ``partial_fit``.

    batch_size : int, default=128
        Rows of a minibatch.

    shuffle : bool, default=True
        Whether every epoch has the rows in another order.

    swa : bool or :class:`sksharp.options.SWA`, default=False
        Whether the net predicts with the mean of the weights of the last epochs.

    ema_decay : float, default=None
        Decay of an exponential moving average to predict with, in [0, 1).

    snapshots : int or :class:`sksharp.options.Snapshots`, default=None
        How many networks along the training the predictions are averaged of.

    early_stopping : bool, default=False
        Whether training ends when the validation loss does not get better. The weights of
        the best epoch are restored.

    validation_fraction : float, default=0.1
        Share of the rows that is held out. Only used when ``early_stopping`` is true or
        ``rho`` is chosen, without ``X_val`` and ``train_split``.

    n_iter_no_change : float, default=10
        Epochs in a row without an improvement after which training ends. Only used when
        ``early_stopping`` is true.

    tol : float, default=1e-4
        By how much the loss has to improve. Only used when ``early_stopping`` is true.

    class_weight : dict, list of dict or 'balanced', default=None
        Weights of the classes, in the training and the validation loss. A list has a dict
        for each of several labels.

    classes : list, default=None
        Labels in the order of the module's outputs. None for those of ``y``, sorted.

    gradient_accumulation : int, default=1
        Parts in which the gradient of a minibatch is computed, one after the other, and
        summed up: a step on ``batch_size`` rows takes the memory of one part. Layers that
        normalize batches see the parts.

    mixed_precision : {'bf16', 'fp16'}, default=None
        In which precision the module, in single precision itself, computes where
        :class:`torch.autocast` allows it. 'fp16' scales the loss, so that gradients do not
        underflow, and leaves out steps whose gradients are not finite.

    device : str, default='auto'
        Where to train. 'auto' is CUDA if there is a device.

    random_state : int or RandomState, default=None
        Determines initial weights, unless the module is an object, dropout, the order of
        the rows, and the rows that are held out. None draws a seed from torch's generator.

    verbose : int, default=0
        Whether skorch prints a line for every epoch.

    **kwargs
        All other parameters of :class:`skorch.NeuralNetClassifier` but ``optimizer``, and
        those with a prefix: ``module__``, ``criterion__``, ``optimizer__``,
        ``iterator_train__``, ``callbacks__``. Defaults differ: ``train_split`` is None,
        and the iterators are :class:`Batches`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels. Of several labels a row their numbers.

    module_, criterion_, optimizer_, callbacks_, history : object
        As in skorch.

    rho_ : float
        Radius that the net was trained with.

    rho_grid_, rho_losses_ : ndarray of shape (n_radii,)
        Radii that were tried, in ascending order, and their validation losses. Only set
        after a choice.

    rho_differences_, rho_standard_errors_ : ndarray of shape (n_radii,)
        Losses less the lowest, and the standard errors of these differences, paired over
        the validation rows. Only set after a choice with a criterion that has losses of
        single rows.

    validation_loss_ : float
        Validation loss at the best epoch with ``early_stopping``, else at the last. Only
        with validation rows.

    n_averaged_ : int
        Number of weights in the average of ``swa`` or ``ema_decay``.

    n_outputs_ : int
        Outputs that the module has to have.

    n_features_in_ : int
        Number of columns, of a table.

    See Also
    --------
    sksharp.SAMMLPClassifier : scikit-learn's network, faster for small ones.
    WeightAveraging, Snapshots : Callbacks for a net of skorch's own.

    Notes
    -----
    With a ``random_state`` a fit is repeatable on the same machine with the same versions,
    as far as torch's kernels are. It seeds the generators of torch, of the CPU and of the
    device, for the duration of a call; they are then as before. Other threads that draw
    from them meanwhile disturb it, and what draws from Python's or numpy's generator is
    not covered.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.preprocessing import scale
    >>> from torch import nn
    >>> from sksharp.nets import SAMNetClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> def make_module(n_features_in, n_outputs):
    ...     return nn.Sequential(
    ...         nn.Linear(n_features_in, 16), nn.ReLU(), nn.Linear(16, n_outputs)
    ...     )
    >>> net = SAMNetClassifier(
    ...     make_module, rho=0.1, lr=0.01, max_epochs=30, random_state=0
    ... )
    >>> net.fit(scale(X), y).score(scale(X), y) > 0.95
    True
    """

    # whether y has several labels a row
    is_multilabel_ = False

    def __init__(
        self,
        module: type[nn.Module] | nn.Module | Callable[..., nn.Module],
        *,
        criterion: Any = nn.CrossEntropyLoss,
        solver: Any = "sam",
        base_solver: Any = "adam",
        rho: Any = 0.05,
        lr: float = 0.001,
        learning_rate: Any = "constant",
        warmup: float = 0,
        max_epochs: int = 10,
        batch_size: int = 128,
        shuffle: bool = True,
        swa: Any = False,
        ema_decay: float | None = None,
        snapshots: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
        tol: float = 1e-4,
        class_weight: Any = None,
        classes: Any = None,
        gradient_accumulation: int = 1,
        mixed_precision: str | None = None,
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
        **kwargs: Any,
    ) -> None:
        own = {
            "solver": solver,
            "base_solver": base_solver,
            "rho": rho,
            "learning_rate": learning_rate,
            "warmup": warmup,
            "shuffle": shuffle,
            "swa": swa,
            "ema_decay": ema_decay,
            "snapshots": snapshots,
            "early_stopping": early_stopping,
            "validation_fraction": validation_fraction,
            "n_iter_no_change": n_iter_no_change,
            "tol": tol,
            "class_weight": class_weight,
            "gradient_accumulation": gradient_accumulation,
            "mixed_precision": mixed_precision,
            "random_state": random_state,
        }
        of_skorch = {
            "module": module,
            "criterion": criterion,
            "lr": lr,
            "max_epochs": max_epochs,
            "batch_size": batch_size,
            "classes": classes,
            "device": device,
            "verbose": verbose,
            **kwargs,
        }
        self._set_up(own, of_skorch)

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        **fit_params: Any,
    ) -> Self:
        """Train the module from the beginning, or on with ``warm_start``.

        Parameters
        ----------
        X : array-like, sparse matrix, frame, dict, list, Tensor or Dataset
            Rows, as skorch takes them. Arrays, sparse matrices and frames of numbers are
            checked as in scikit-learn, and become the dtype of the module. Frames whose
            columns are arguments of ``forward``, and dictionaries, are passed by their
            names. Integers stay integers for a module with embeddings.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any kind, or 0 and 1 for each of several labels. None for a Dataset
            that has them.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the loss. Rows with weight 0 are left out.

        X_val, y_val : object, default=None
            Rows to validate with, in place of held-out ones.

        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights.

        **fit_params
            Arguments of ``forward``, as in skorch.

        Returns
        -------
        self : object
            The net. If the fit fails it is as it was, but for what ``warm_start`` has
            trained.

        Raises
        ------
        ValueError
            If a parameter or the data are not valid, the outputs of the module do not fit
            the targets, or the loss becomes infinite or NaN.
        """
        validation = (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, validation, fit_params)

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        classes: Any = None,
        sample_weight: Any = None,
        **fit_params: Any,
    ) -> Self:
        """Train on, for ``max_epochs`` epochs.

        Parameters
        ----------
        X, y : object
            Rows and labels, as in ``fit``.

        classes : array-like of shape (n_classes,), default=None
            All labels, in the first call. None for those of ``y``.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        **fit_params
            Arguments of ``forward``.

        Returns
        -------
        self : object
            The net.
        """
        if classes is not None and not (self.initialized_ and self._knows_targets):
            self.given_classes_ = np.unique(classes)
        return self._partial_fit(X, y, sample_weight, fit_params)

    def check_data(self, X: Any, y: Any) -> None:
        """Raise for rows without targets; labels are read before."""
        if y is None:
            super().check_data(X, y)

    def _read_targets(self, X: Any, y: Any, *, reset: bool) -> Any:
        given = self.__dict__.pop("given_classes_", None)
        if y is None:
            refuse_no_targets(self, X)
            self.__dict__.pop("n_outputs_", None)  # of other rows
            return None
        y = to_numpy(y) if isinstance(y, Tensor) else y
        shape = y.shape if scipy.sparse.issparse(y) else np.asarray(y).shape
        has_several = len(shape) == 2 and shape[1] > 1
        if reset:
            self.is_multilabel_ = has_several
        elif has_several != self.is_multilabel_:
            raise ValueError(
                f"y must have {'several labels' if self.is_multilabel_ else 'one label'} a "
                f"row, as before, got y of shape {shape}."
            )
        if has_several:
            return self._read_several(y, reset=reset)
        y = _check_y(y, estimator=self)
        check_classification_targets(y)
        if reset:
            self.classes_inferred_ = np.unique(y) if given is None else given
            self.n_outputs_ = 1 if self._takes_logits() else len(self.classes_)
            self._check_two_classes()
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y must hold labels of the classes {self.classes_.tolist()}, got "
                f"{unknown.tolist()} too. Name all classes in the first call of "
                "partial_fit, or by the parameter classes."
            )
        return y

    def _read_several(self, y: Any, *, reset: bool) -> Array:
        if scipy.sparse.issparse(y):
            raise TypeError("y must be dense, got a sparse matrix. Give y.toarray().")
        y = _check_y(y, multi_output=True, estimator=self)
        if not np.isin(y, (0, 1)).all():
            raise ValueError(
                "y must hold 0 and 1 in the columns of several labels, got "
                f"{type_of_target(y)} targets of shape {y.shape}. Binarize them, or fit "
                "a net for each column."
            )
        several: Array = y.astype(np.int64)
        if self._takes(_BY_CLASS):
            raise ValueError(
                f"y must have one label a row for {self.criterion}, got {y.shape[1]}. Take "
                "criterion=torch.nn.BCEWithLogitsLoss, and one output for every label."
            )
        if reset:
            self.n_outputs_ = y.shape[1]
            self.classes_inferred_ = np.arange(y.shape[1])
        elif y.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y must have {self.n_outputs_} labels as before, got shape {y.shape}."
            )
        return several

    def _takes_logits(self) -> bool:
        return self._takes(_BINARY)

    def _takes(self, kinds: tuple[type, ...]) -> bool:
        """Return whether the criterion, a class or an object, is one of some kinds."""
        criterion = self.criterion
        if isinstance(criterion, nn.Module):
            return isinstance(criterion, kinds)
        return inspect.isclass(criterion) and issubclass(criterion, kinds)

    def _check_two_classes(self) -> None:
        n_classes = len(self.classes_)
        if self._takes_logits() and n_classes != 2:
            got = "1 class" if n_classes == 1 else f"{n_classes} classes"
            raise ValueError(
                "Only binary classification is supported. y must have two classes for "
                f"{self.criterion}, got {got}. Take criterion=torch.nn.CrossEntropyLoss."
            )

    def _weigh(self, y: Any, sample_weight: Any, y_train: Any) -> Any:
        if self.class_weight is None:
            return sample_weight
        if y is None:
            raise ValueError(
                "class_weight needs the labels as y, got a dataset that holds them. Give "
                "fit X and y."
            )
        weights: Array
        if self.is_multilabel_:
            trained = None if y is y_train else y_train
            weights = weights_of_several(self.class_weight, y, trained)
        else:
            each = compute_class_weight(
                self.class_weight, classes=self.classes_, y=y_train
            )
            weights = each[self._encoded(y)]
        return weights if sample_weight is None else weights * sample_weight

    def _encoded(self, y: Any) -> Array:
        """Return labels as indices of classes."""
        labels = to_numpy(y) if isinstance(y, Tensor) else np.asarray(y)
        order = np.argsort(self.classes_)
        found: Array = np.searchsorted(self.classes_, labels, sorter=order)
        return order[found]

    def _matched(self, y_pred: Any, y_true: Any) -> tuple[Any, Any]:
        """Return outputs and targets as the criterion takes them."""
        if not hasattr(self, "n_outputs_"):  # a dataset with labels of its own
            return y_pred, y_true
        shape = getattr(y_pred, "shape", None)
        if self.is_multilabel_:
            y = torch.as_tensor(y_true, device=self.device)
            if shape != y.shape:
                wanted = f"one output for every label, (n_rows, {self.n_outputs_})"
                refuse_outputs(self, y_pred, wanted)
            return y_pred, y.to(y_pred.dtype)
        y = torch.as_tensor(self._encoded(y_true), device=self.device)
        criterion = plain(self.criterion_)
        if isinstance(criterion, _BINARY):
            if shape not in ((len(y),), (len(y), 1)):
                refuse_outputs(self, y_pred, "a single logit, (n_rows,) or (n_rows, 1)")
            return y_pred, y.to(y_pred.dtype).reshape(shape)
        if isinstance(criterion, _BY_CLASS):
            classes = self.classes_
            if shape != (len(y), len(classes)):
                wanted = f"one output for every class, (n_rows, {len(classes)})"
                why = f" for the classes {classes.tolist()[:10]}"
                refuse_outputs(self, y_pred, wanted, why)
        return y_pred, y

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : object
            Rows, as ``fit`` takes them.

        Returns
        -------
        y_proba : ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            The outputs of the module, after softmax, or the logistic function, with a
            criterion of logits. Of ``snapshots`` the mean.
        """
        y_proba = self._outputs(X)
        is_column = y_proba.ndim == 3 and self._takes_logits()  # of outputs (n, 1)
        return y_proba[..., 0] if is_column else y_proba

    def _get_predict_nonlinearity(self) -> Any:
        """Return what makes probabilities of outputs, of several labels one by one."""
        if not (self.is_multilabel_ and self.predict_nonlinearity == "auto"):
            return super()._get_predict_nonlinearity()
        is_logit = isinstance(plain(self.criterion_), _OF_LOGITS)
        return torch.sigmoid if is_logit else nn.Identity()

    def predict(self, X: Any) -> Array:
        """Return the labels with the highest probability.

        Parameters
        ----------
        X : object
            Rows, as ``fit`` takes them.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels. Of several labels 1 where the probability is above one half.
        """
        if self.is_multilabel_:
            labels: Array = (self.predict_proba(X) > 0.5).astype(int)
            return labels
        best: Array = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best] if hasattr(self, "n_outputs_") else best

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = not self._takes_logits()
        tags.classifier_tags.multi_label = self._takes_logits()
        return tags
