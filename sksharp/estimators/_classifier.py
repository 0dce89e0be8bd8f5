"""The classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import check_array, column_or_1d

from .._choices import Choice
from .._jobs import Array
from ..options.averages import SWA, Snapshots
from ..options.noise import InputNoise
from ..options.schedules import LearningRateSchedule
from ..options.solvers import Solver
from ._base import FlatMinimaMLP
from ._class_weights import weights_of_several
from ._state import all_or_nothing
from ._types import MatrixLike, if_stochastic
from ._validation import prefix_errors

# by class; with several labels, one for each
ClassWeights: TypeAlias = Mapping[Any, float] | Sequence[Mapping[Any, float]]


class SAMMLPClassifier(FlatMinimaMLP, MLPClassifier):
    """Multi-layer perceptron classifier, trained to a flat minimum of the log-loss.

    It has all parameters of :class:`sklearn.neural_network.MLPClassifier`, and more
    solvers. Scale the features first.

    Parameters
    ----------
    hidden_layer_sizes : array-like of shape (n_layers - 2,) or int, default=(100,)
        Number of units of every hidden layer. ``()`` gives a linear model.

    activation : {'identity', 'logistic', 'tanh', 'relu'}, default='relu'
        Activation of the hidden layers.

    solver : str or object of :mod:`sksharp.options`, default='sam'
        Training method: a name, or an object with options, such as ``ASAM(eta=0.1)``.
        The first nine are sharpness-aware: they take a gradient at weights perturbed by
        ``rho``, and ``base_solver`` takes the step.

        - 'sam' perturbs towards the highest loss. Two gradients per step, as all of
          them except 'msam'.
        - 'wsam' weights the sharpness against the loss.
        - 'asam' perturbs each weight relative to its size.
        - 'gsam' also reduces the gap between the loss and the perturbed loss.
        - 'fisher_sam' scales the perturbation by the squared gradient.
        - 'friendly_sam' perturbs along the noise of the minibatch only.
        - 'looksam' perturbs every few steps and reuses the direction in between.
        - 'esam' takes the second gradient from the rows whose loss rose most.
        - 'msam' perturbs along the momentum of ``base_solver``. One gradient per step.
        - 'ranger' is rectified Adam with Lookahead; 'radam' is rectified Adam alone.
        - 'lookahead' moves slow weights towards those of ``base_solver`` every few steps.
        - 'adamw' is Adam with decoupled weight decay.
        - 'schedule_free' is AdamW with gradients near a running average of the weights.
          The estimator predicts with the average.
        - 'muon' orthogonalizes the momentum of the hidden layers' weights; the output
          layer and the biases use 'adamw'.
        - 'yellowfin' is gradient descent that tunes its rate and momentum.
        - 'adam', 'sgd' and 'lbfgs' are scikit-learn's.

    alpha : float, default=0.0001
        Strength of the penalty on the squared weights. As in scikit-learn, it is
        divided by the number of rows of the minibatch (the sum of their weights), and
        biases are not penalized. Both gradients of a sharpness-aware step contain it.
        The ``weight_decay`` of 'adamw' is independent of it.

    batch_size : int or 'auto', default='auto'
        Rows per minibatch. 'auto' is ``min(200, n_samples)``. If ``rho`` or the length
        is chosen, it is a twentieth of the rows, between 8 and 200, or between 32 and
        128 for members. Not used when ``solver`` is 'lbfgs'.

    learning_rate : str or object of :mod:`sksharp.options`, default='constant'
        Schedule of the learning rate: a name, or an object with options, such as
        ``Cosine(flat=0.75)``. scikit-learn's three are

        - 'constant', which keeps ``learning_rate_init``,
        - 'invscaling', ``learning_rate_init / (t_ + 1)**power_t`` after every epoch,
        - 'adaptive', which divides the rate by 5 whenever training would stop for lack
          of improvement, and stops once it is 1e-6 or less.

        As in scikit-learn, the last two are only used with 'sgd', as ``solver`` or as
        ``base_solver``. The following work with every ``solver`` except 'lbfgs' and
        'yellowfin', and span the ``max_iter`` epochs, or those that ``max_steps``
        takes:

        - 'cosine' falls along half a cosine to 0, step by step.
        - 'onecycle' rises from a 25th of ``learning_rate_init`` to it and falls to a
          250,000th, step by step. It does not cycle the momentum.
        - 'step' drops to a tenth every 50 epochs.
        - 'multistep' drops to a tenth after half and three quarters of the training.
        - 'exponential' multiplies by 0.99 after every epoch.
        - 'cyclic' falls along half a cosine five times, each time from
          ``learning_rate_init``.

    learning_rate_init : float, default=0.001
        Initial learning rate. Not used when ``solver`` is 'lbfgs' or 'yellowfin'.

    power_t : float, default=0.5
        Exponent of the schedule 'invscaling'. Only used when ``learning_rate`` is
        'invscaling'.

    max_iter : int, default=200
        Maximum number of epochs, or of iterations when ``solver`` is 'lbfgs'. A
        ``ConvergenceWarning`` says that the loss, or the score of held-out rows, still
        improved by more than ``tol`` in the last ``n_iter_no_change`` epochs.

    shuffle : bool, default=True
        Whether to shuffle the rows before every epoch. Not used when ``solver`` is
        'lbfgs'.

    random_state : int, RandomState instance or None, default=None
        Determines the initial weights, the validation rows, the order of the rows, the
        masks of ``dropout`` and the noise of ``input_noise``. An int makes fits
        repeatable. torch's global generator is never used; numpy's only with None, as
        in scikit-learn.

    tol : float, default=1e-4
        Smallest improvement that counts: an epoch improves if the training loss falls,
        or the validation score rises, by more than this.

    verbose : bool or int, default=False
        Whether to print the progress of every epoch. If several networks are trained,
        every line names its network.

    warm_start : bool, default=False
        Whether ``fit`` starts from the weights of the previous call.

    momentum : float, default=0.9
        Momentum of stochastic gradient descent, in [0, 1]. Only used when ``solver`` or
        ``base_solver`` is 'sgd'.

    nesterovs_momentum : bool, default=True
        Whether to use Nesterov's momentum. Only used when ``solver`` or ``base_solver``
        is 'sgd'.

    early_stopping : bool, default=False
        Whether to hold out ``validation_fraction`` of the rows, stop when their score
        no longer improves, and keep the weights of the best epoch. ``X_val`` in ``fit``
        replaces these rows. With ``n_members`` above 1, every member is scored on its
        fold, every 20 steps or every epoch, whichever is longer, and stops after
        ``n_iter_no_change`` scores without improvement. Not used when ``solver`` is
        'lbfgs'.

    validation_fraction : float, default=0.1
        Share of the rows to hold out, in [0, 1). Only used when ``early_stopping`` is
        True and ``fit`` has no ``X_val``.

    beta_1 : float, default=0.9
        Decay of the running mean of the gradient, in [0, 1). In 'schedule_free', the
        weight of the average in the point where the gradient is taken. Only used when
        ``solver`` or ``base_solver`` is one of 'adam', 'adamw', 'radam', 'ranger',
        'schedule_free' and 'muon'.

    beta_2 : float, default=0.999
        Decay of the running mean of the squared gradient, in [0, 1). Only used when
        ``solver`` or ``base_solver`` is one of 'adam', 'adamw', 'radam', 'ranger',
        'schedule_free' and 'muon'.

    epsilon : float, default=1e-8
        Added to the root of the mean squared gradient. Only used when ``solver`` or
        ``base_solver`` is one of 'adam', 'adamw', 'radam', 'ranger', 'schedule_free' and
        'muon'.

    n_iter_no_change : int or inf, default=10
        Number of epochs without improvement after which training stops; with
        ``early_stopping`` of members, number of scores. Not used when ``solver`` is
        'lbfgs'.

    max_fun : int, default=15000
        Maximum number of evaluations of the loss. Only used when ``solver`` is 'lbfgs'.

    rho : float, 'auto' or array-like of float, default='auto'
        Radius of the perturbation, in the Euclidean norm over all weights and biases of
        the network. The best value depends on the data, from 0 to about 1, or ten times
        that with 'asam' and 'msam'. Used by the sharpness-aware solvers, from 'sam' to
        'msam'. 'lookahead', 'ranger', 'radam', 'adamw', 'schedule_free' and 'muon' have
        no radius, but 'auto' chooses their length of training too.

        - A number is the radius. 0 gives the base solver.
        - 'auto' chooses from 0, 0.1 and 0.5; from ten times these with 'asam' and 'msam'.
          With 'wsam' these are the values of ``rho * gamma / (1 - gamma)``.
        - A list has the radii to choose from.

        The choice takes the largest radius whose loss on held-out rows exceeds the
        lowest by at most one standard error, paired over the rows
        (``rho_standard_errors_``), and by at most 5 %; with a scorer in ``scoring``,
        the radius with the best score. Radii are compared after 5 and 10 % of the
        epochs, and the chosen one is trained to the end. A single network is then
        trained on all rows, for as many epochs as the folds improved, at most
        ``max_iter``, without ``tol`` and ``n_iter_no_change`` unless ``swa`` or
        ``early_stopping`` ends training. A choice also changes ``batch_size='auto'``
        and ``ema_decay=None``.

        Without a choice, the radius is 0.05 (0.5 with 'asam' and 'msam'), or the only
        one of a list. Nothing is chosen in ``partial_fit``, which uses the radius that
        ``fit`` chose before, and for a single network with 'auto', fewer than 100 rows
        and no ``cv``.

    base_solver : str or object of :mod:`sksharp.options`, default='adam'
        Solver of the descent step: 'adam', 'sgd', 'ranger', 'radam', 'adamw',
        'schedule_free', 'muon', or an object with options. Only used when ``solver`` is
        sharpness-aware, from 'sam' to 'msam', or 'lookahead'. 'schedule_free' does not
        work with 'msam' and 'lookahead', nor 'ranger' with 'lookahead', which it
        contains.

    swa : bool or :class:`~sksharp.options.SWA`, default=False
        Whether to end training with stochastic weight averaging and predict with the
        average; an object sets options. Averaging begins after three quarters of the
        training, or as soon as training would stop, and lasts for a quarter of it. With
        ``early_stopping`` the average is kept only if it scores at least as well as the
        best epoch. Needs a solver other than 'lbfgs'.

    ema_decay : float, 'auto' or None, default=None
        Decay of an exponential moving average of the weights, in [0, 1), updated after
        every step. The estimator predicts and is validated with the average. The
        average spans about ``1 / (1 - ema_decay)`` steps, which should be a small part
        of the training: 0.99 suits some thousand steps.

        - 'auto' spans a tenth of all steps, ``1 - 10 / n_steps``, between 0.9 and 0.999.
        - 0 never averages.
        - None is 0.99 if ``rho`` or the length is chosen, without ``swa`` and
          ``snapshots``, and 0 otherwise.

        Not together with ``swa`` and ``snapshots``. Needs a solver other than 'lbfgs'.

    snapshots : int, :class:`~sksharp.options.Snapshots` or None, default=None
        Number of networks to collect along one training, 2 or more, and to average the
        predictions of; an object sets options. The learning rate falls in cycles, and a
        network is collected at the end of each. Training lasts for all of ``max_iter``
        or ``max_steps``: ``tol`` and ``n_iter_no_change`` are not used. Needs
        ``learning_rate='constant'``. Not together with ``early_stopping``,
        ``n_members``, ``swa`` or ``ema_decay``.

    n_members : int, default=1
        Number of networks to train and to average the predictions of. Each of several
        is trained without one fold of the rows, which chooses its best epoch. They
        train for all of ``max_iter`` or ``max_steps``, or until ``early_stopping`` ends
        them; ``validation_fraction`` is not used. With ``X_val`` in ``fit``, every
        member trains on all rows, ``X_val`` chooses its best epoch, and members differ
        by their seeds alone. ``partial_fit`` trains every member on all rows. Needs a
        solver other than 'lbfgs'.

    cv : int, splitter, iterable of splits or None, default=None
        Folds of ``n_members`` and of the choice of radius and length. None is one fold
        per member; for a single network it is shuffled 3-fold, stratified for a single
        label, with as many folds as hold out 300 rows. For grouped or ordered rows pass
        a splitter, or its splits.

    max_steps : int or None, default=None
        Maximum number of steps, instead of ``max_iter``: training lasts as many epochs
        as they take, rounded up. Suits small data, whose epochs are short. Needs a
        solver other than 'lbfgs'.

    warmup : float or int, default=0
        Length of the linear rise of the learning rate at the beginning: a share of the
        training if float, a number of epochs if int. With 'onecycle' it is the length
        of the rise, where 0 means 0.3 of the training; 'cosine' and 'cyclic' begin
        after it. Not with ``learning_rate`` 'invscaling' or 'adaptive'. Needs a solver
        other than 'lbfgs'.

    dropout : float or array-like of float, default=0.0
        Share of the units of every hidden layer that a step drops, at random for every
        row, in [0, 1). The others are multiplied by ``1 / (1 - dropout)``. Predictions,
        validation scores and exported networks use all units, unscaled. An array-like
        has a share per hidden layer, or one more: the first is then that of the inputs.
        All gradients of a step drop the same units. ``random_state`` draws them. Shares
        are rounded to multiples of ``2**-16``. Needs a solver other than 'lbfgs'.

    input_noise : float or sksharp.options.InputNoise, default=0.0
        Standard deviation of Gaussian noise that training adds to every input, drawn
        anew in every epoch, in units of the standard deviation of the column in ``X``.
        An object can also replace entries by the mean of their column, like imputed
        values, and can perturb held-out rows instead of training rows, so that the
        radius and the length of training are chosen for such rows:
        ``InputNoise(std=0.25, missing=0.1, on='validation')``. The inputs are those of
        the network, after scaling and encoding in a pipeline. All gradients of a step
        use the same noisy rows. ``random_state`` draws the noise. Predictions have no
        noise. Needs dense ``X`` and a solver other than 'lbfgs'.

    class_weight : dict, list of dict, 'balanced' or None, default=None
        Weights of the classes, which multiply ``sample_weight``: a dict from class to
        weight, with 1 for classes that are not in it, or 'balanced' for
        ``n_samples / (n_classes * np.bincount(y))``. With several labels, a list of
        dicts, one per label. They also weight the validation score of early stopping.

    scoring : str, callable or None, default=None
        Score of held-out rows, higher is better: of the rows of ``early_stopping``, and
        of the folds of ``n_members`` and of the choice of ``rho``. A name or a scorer
        as in :func:`sklearn.metrics.check_scoring`, or 'loss' for minus the loss of the
        network. A scorer gets an estimator with the weights of the epoch, the rows,
        their targets, and ``sample_weight`` if they have weights. None is the accuracy
        with ``early_stopping``, and 'loss' with folds. Only used with one of these.

        'refined_loss' is minus the log-loss after temperature scaling: of the outputs
        of ``b * z``, where ``z`` is the input of the output layer's activation. Every
        epoch gets the ``b`` between ``2**-10`` and ``2**10`` with the lowest loss for
        targets ``(1 - s) * y + s / k``, where ``s = 1 / (n_rows + 1)`` and ``k`` is the
        number of classes (2 for each of several labels); rows of weight 0 do not count.
        After training the last ``coefs_`` and ``intercepts_`` are multiplied by the
        ``b`` of the best epoch; for a member, by its square root; for a network whose
        ``rho`` was chosen by folds, without ``early_stopping``, by the geometric mean
        over the folds. Training continues from the weights without the factor.
        ``partial_fit``, and ``fit`` with the radius of an earlier one, keep ``b``.
        ``snapshots`` are not multiplied.

    n_jobs : int or None, default=None
        Number of processes for the networks, as in :class:`joblib.Parallel`. Another
        number groups the networks differently, which may change the last digits of the
        weights. Only used when ``n_members`` is more than 1 or a radius is chosen, and
        on the CPU: on a GPU the networks are trained together in one process.

    device : str, default='auto'
        Device to train on: 'cpu', 'cuda', or any other torch device. 'auto' is CUDA if
        there is a device and the work is large enough, with many networks at once or
        large ones, and the CPU otherwise. It counts weights times rows of a step; its
        limit is an estimate, not measured on a GPU. Prediction uses numpy, on the CPU.
        Not used when ``solver`` is 'lbfgs'.

    callbacks : list of skorch callbacks or None, default=None
        Called for every epoch, batch and gradient of the fit, with a skorch net. They
        can stop training. Needs a solver other than 'lbfgs'. Set scikit-learn's own
        callbacks with ``set_callbacks``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.

    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Weights of every layer, in the dtype of ``X``; the average with ``swa`` or
        ``ema_decay``, which a choice of ``rho`` turns on.

    intercepts_ : list of ndarray of shape (fan_out,)
        Biases of every layer.

    members_ : list of estimators
        The networks, each an estimator. Only set when ``n_members`` is more than 1 or
        ``snapshots`` is on. ``coefs_``, ``intercepts_`` and ``n_averaged_``, and with
        ``n_members`` the loss curve and the scores, are then attributes of the members
        and not of this estimator.

    rho_ : float
        The chosen radius, or the one that is used without a choice. Only set when
        ``rho`` is 'auto' or a list.

    rho_grid_ : ndarray of shape (n_radii,)
        The radii that were tried, in ascending order. Only set after a choice, like the
        next five.

    rho_losses_ : ndarray of shape (n_radii,)
        Mean loss of the held-out rows with every radius, at the best epoch of each
        fold; with ``n_members``, of the first two folds. Dropped radii were trained for
        fewer epochs. Only set when ``scoring`` is None or a loss, like the next two.

    rho_differences_ : ndarray of shape (n_radii,)
        Loss minus the lowest, in the units of the loss, at the last comparison of the
        radius: after 5 % of the epochs for those dropped there, after 10 % for the
        others.

    rho_standard_errors_ : ndarray of shape (n_radii,)
        Standard errors of ``rho_differences_``, from the differences of the losses of
        every row. With weights ``w`` of ``n`` rows and differences ``d`` with weighted
        mean ``m`` it is ``sqrt(n / (n - 1) * sum((w * (d - m))**2)) / sum(w)``. A row
        that is held out several times counts once.

    rho_scores_ : ndarray of shape (n_radii,)
        Score with every radius at the best epoch of each fold, averaged over the folds,
        weighted by their rows; with ``n_members``, over the first two. The radius with
        the highest score is chosen, and the smallest of equal ones. Only set with any
        other ``scoring``.

    rho_epochs_ : ndarray of int of shape (n_radii,)
        Number of epochs that every radius was trained for.

    oof_decision_function_ : ndarray of shape (n_samples, n_classes)
        Probabilities of every row, by the networks that were not trained on it; NaN if
        there is none. Only set by ``fit`` without ``X_val``, when ``n_members`` is more
        than 1 or ``rho`` was chosen in this fit.

    n_averaged_ : int
        Number of epochs that ``swa`` has averaged in ``coefs_``; 0 without ``swa``, also
        with ``ema_decay``.

    loss_ : float
        Loss of the last epoch, with the penalty: the mean over the minibatches of the
        loss before each step, not of the perturbed loss.

    loss_curve_ : list of float
        Loss of every epoch, including those of earlier calls if training continued from
        them. Not set when ``solver`` is 'lbfgs', like the next three.

    best_loss_ : float or None
        Lowest loss of an epoch. None with early stopping.

    validation_scores_ : list of float or None
        Accuracy on the validation rows after every epoch, or the score that ``scoring``
        names. None without early stopping.

    best_validation_score_ : float or None
        Score of the weights that were kept. None without early stopping.

    n_iter_ : int
        Epochs (iterations when ``solver`` is 'lbfgs') of the last call.

    t_ : int
        Number of rows that training has seen, over all epochs.

    n_layers_ : int
        Number of layers, the input included.

    n_outputs_ : int
        Number of units of the output layer.

    out_activation_ : str
        Activation of the output layer.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features. Only set when ``X`` has string column names.

    See Also
    --------
    SAMMLPRegressor : The regressor.
    sklearn.neural_network.MLPClassifier : The same network, trained by scikit-learn.

    Notes
    -----
    ``rho=0`` trains with scikit-learn's steps, up to rounding. A fit that fails leaves
    the estimator as it was.

    References
    ----------
    P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur. "Sharpness-aware minimization for
    efficiently improving generalization." ICLR 2021. :arxiv:`2010.01412`.

    Y. Yue, J. Jiang, Z. Ye, N. Gao, Y. Liu, K. Zhang. "Sharpness-aware minimization
    revisited: Weighted sharpness as a regularization term." KDD 2023.
    :arxiv:`2305.15817`.

    L. Liu et al. "On the variance of the adaptive learning rate and beyond." ICLR 2020.
    :arxiv:`1908.03265`.

    M. R. Zhang, J. Lucas, G. Hinton, J. Ba. "Lookahead optimizer: k steps forward, 1
    step back." NeurIPS 2019. :arxiv:`1907.08610`.

    P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson. "Averaging weights
    leads to wider optima and better generalization." UAI 2018. :arxiv:`1803.05407`.

    M. Becker, F. Altrock, B. Risse. "Momentum-SAM: Sharpness aware minimization without
    computational overhead." 2024. :arxiv:`2401.12033`.

    I. Loshchilov, F. Hutter. "Decoupled weight decay regularization." ICLR 2019.
    :arxiv:`1711.05101`.

    A. Defazio, X. Yang, H. Mehta, K. Mishchenko, A. Khaled, A. Cutkosky. "The road less
    scheduled." NeurIPS 2024. :arxiv:`2405.15682`.

    J. Liu et al. "Muon is scalable for LLM training." 2025. :arxiv:`2502.16982`.

    J. Zhang, I. Mitliagkas. "YellowFin and the art of momentum tuning." MLSys 2019.
    :arxiv:`1706.03471`.

    G. Huang, Y. Li, G. Pleiss, Z. Liu, J. E. Hopcroft, K. Q. Weinberger. "Snapshot
    ensembles: Train 1, get M for free." ICLR 2017. :arxiv:`1704.00109`.

    T. Garipov, P. Izmailov, D. Podoprikhin, D. Vetrov, A. G. Wilson. "Loss surfaces, mode
    connectivity, and fast ensembling of DNNs." NeurIPS 2018. :arxiv:`1802.10026`.

    E. Berta, D. Holzmüller, M. I. Jordan, F. Bach. "Rethinking early stopping: Refine,
    then calibrate." 2025. :arxiv:`2501.19195`.

    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger. "On calibration of modern neural
    networks." ICML 2017. :arxiv:`1706.04599`.

    D. P. Kingma, J. Ba. "Adam: A method for stochastic optimization." ICLR 2015.
    :arxiv:`1412.6980`.

    N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov. "Dropout: A
    simple way to prevent neural networks from overfitting." JMLR 15, 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sksharp import SAMMLPClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(
    ...     X, y, stratify=y, random_state=0)
    >>> clf = make_pipeline(
    ...     StandardScaler(), SAMMLPClassifier(rho=0.2, max_iter=500, random_state=0))
    >>> clf.fit(X_train, y_train).score(X_test, y_test)
    1.0
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **FlatMinimaMLP._parameter_constraints,
        "class_weight": [Choice({"balanced"}), dict, list, None],
    }
    classes_: Array
    oof_decision_function_: Array

    if TYPE_CHECKING:  # scikit-learn's have no types

        def predict_proba(self, X: MatrixLike) -> Array: ...
        def predict_log_proba(self, X: MatrixLike) -> Array: ...

    _metric = staticmethod(accuracy_score)

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] | Array = (100,),
        activation: Literal["identity", "logistic", "tanh", "relu"] = "relu",
        *,
        solver: str | Solver = "sam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: str | LearningRateSchedule = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        rho: float | Literal["auto"] | Sequence[float] | Array = "auto",
        base_solver: str | Solver = "adam",
        swa: bool | SWA = False,
        ema_decay: float | Literal["auto"] | None = None,
        snapshots: int | Snapshots | None = None,
        n_members: int = 1,
        cv: int | Any | None = None,
        max_steps: int | None = None,
        warmup: float = 0,
        dropout: float | Sequence[float] | Array = 0.0,
        input_noise: float | InputNoise = 0.0,
        class_weight: ClassWeights | Literal["balanced"] | None = None,
        scoring: str | Callable[..., float] | None = None,
        n_jobs: int | None = None,
        device: str = "auto",
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )
        self.rho = rho
        self.base_solver = base_solver
        self.swa = swa
        self.ema_decay = ema_decay
        self.snapshots = snapshots
        self.n_members = n_members
        self.cv = cv
        self.max_steps = max_steps
        self.warmup = warmup
        self.dropout = dropout
        self.input_noise = input_noise
        self.class_weight = class_weight
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.device = device
        self.callbacks = callbacks

    def _decode(self, outputs: Array) -> Array:
        """Return class labels of the network's outputs, or of encoded targets."""
        encoded = outputs.ravel() if self.n_outputs_ == 1 else outputs
        labels: Array = self._label_binarizer.inverse_transform(encoded)
        return labels

    def _keep_out_of_fold(self, outputs: Array) -> None:
        if outputs.shape[1] == 1:
            outputs = np.hstack([1 - outputs, outputs])
        self.oof_decision_function_ = outputs

    def _row_weights(
        self, y: Array, sample_weight: Array | None, y_train: Array | None = None
    ) -> Array | None:
        """Multiply the weights of the rows by those of their classes."""
        if self.class_weight is None:
            return sample_weight
        labels = self._decode(y)
        if labels.ndim == 1 and isinstance(self.class_weight, list):
            raise ValueError(
                "class_weight must be a dict or 'balanced' for a single label, got "
                f"class_weight={self.class_weight}. A list of dicts is for several labels."
            )
        with prefix_errors("class_weight must give classes of y their weights"):
            weights = self._class_weights(y, labels, y_train)
        if not np.isfinite(weights).all():
            raise ValueError(
                f"class_weight must hold finite numbers, got {self.class_weight}."
            )
        weights = weights if sample_weight is None else weights * sample_weight
        if y_train is None and not weights.any():
            raise ValueError(
                "class_weight must leave a row with a weight other than 0, sample_weight "
                f"included, got {self.class_weight}. Raise the weight of a class of y."
            )
        return weights

    def _class_weights(self, y: Array, labels: Array, y_train: Array | None) -> Array:
        """Return the weights of rows by their classes."""
        if labels.ndim == 2:
            return weights_of_several(self.class_weight, labels, y_train)
        trained = labels if y_train is None else self._decode(y_train)
        by_class: Array = compute_class_weight(
            self.class_weight, classes=self.classes_, y=trained
        )
        return by_class[np.searchsorted(self.classes_, labels)]

    def _encode_user_targets(self, y: Any) -> Array:
        """Return validation targets, encoded as those of the training."""
        y = check_array(
            y,
            accept_sparse="csr",
            ensure_2d=False,
            ensure_min_samples=0,
            dtype=None,
            input_name="y_val",
        )
        kind = type_of_target(y, input_name="y_val")
        binarizer = self._label_binarizer
        has_several = binarizer.y_type_.startswith("multilabel")
        allowed = ("multilabel-indicator",) if has_several else ("binary", "multiclass")
        if kind not in allowed:
            raise ValueError(
                f"it must be {' or '.join(allowed)}, as y is, got {kind} targets."
            )
        if has_several:
            if y.shape[1] != self.n_outputs_:
                raise ValueError(
                    f"it must have {self.n_outputs_} columns, got {y.shape}."
                )
            return np.asarray(binarizer.transform(y).astype(bool))
        y = column_or_1d(y, warn=True)
        unknown = np.setdiff1d(unique_labels(y), self.classes_)
        if len(unknown):
            raise ValueError(
                f"it has the classes {unknown.tolist()}, which are not in y. Drop these "
                f"rows, or add some of the classes to y, which has "
                f"{self.classes_.tolist()}."
            )
        return np.asarray(binarizer.transform(y).astype(bool))

    @if_stochastic
    def partial_fit(
        self,
        X: MatrixLike,
        y: MatrixLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch, from where the last call stopped.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or indicators of several labels.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        classes : array-like of shape (n_classes,), default=None
            All class labels. Needed in the first call, optional later.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If ``early_stopping`` is True, if ``class_weight`` is 'balanced', or if the
            data are not valid. The estimator is then as it was.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all rows at once, which partial_fit does "
                "not have. Pass a dict, which "
                "sklearn.utils.class_weight.compute_class_weight can make."
            )
        with all_or_nothing(self):
            super().partial_fit(X, y, sample_weight=sample_weight, classes=classes)
        return self
