"""The classifier."""

import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import check_array, column_or_1d

from ._choices import Choice
from ._estimator import FlatMinimaMLP
from ._scoring import about


class SAMMLPClassifier(FlatMinimaMLP, MLPClassifier):
    """Multi-layer perceptron classifier, trained to a flat minimum of the log-loss.

    It is :class:`sklearn.neural_network.MLPClassifier`, parameter for parameter, with
    more solvers. Scale the features first.

    Parameters
    ----------
    hidden_layer_sizes : array-like of shape (n_layers - 2,) or int, default=(100,)
        Number of units of every hidden layer. ``()`` gives a linear model.

    activation : {'identity', 'logistic', 'tanh', 'relu'}, default='relu'
        Activation of the hidden layers.

    solver : {'sam', 'wsam', 'asam', 'gsam', 'fisher_sam', 'friendly_sam', 'looksam', \
            'esam', 'msam', 'ranger', 'lookahead', 'radam', 'adamw', 'schedule_free', \
            'muon', 'yellowfin', 'adam', 'sgd', 'lbfgs'}, default='sam'
        How the weights are found.

        - 'sam' descends with the gradient of the worst point in a neighborhood of the
          weights, with a step of ``base_solver``. Two gradients a step.
        - 'wsam' weighs the sharpness against the loss by ``gamma``. Two gradients a
          step.
        - 'asam' is 'sam' with the neighborhood measured in units of the weights.
        - 'gsam' descends on the gap between the two losses too, by ``gsam_alpha``.
        - 'fisher_sam' measures the neighborhood by the squared gradient.
        - 'friendly_sam' climbs along the noise of the minibatch only.
        - 'looksam' climbs every ``looksam_k`` steps and reuses the direction in between.
        - 'esam' takes the second gradient from the rows whose loss rose most.
        - 'msam' perturbs the weights along the momentum of ``base_solver``. One gradient
          a step.
        - 'ranger' is rectified Adam with Lookahead, 'radam' without.
        - 'lookahead' lets slow weights follow those of ``base_solver``.
        - 'adamw' is Adam with ``weight_decay``.
        - 'schedule_free' is AdamW with the gradient near a running average of the
          weights, which the estimator predicts with.
        - 'muon' makes the momentum of the hidden layers' weights orthogonal, and is
          'adamw' for the output layer and the biases.
        - 'yellowfin' finds rate and momentum of gradient descent by itself and does not
          use ``learning_rate_init``.
        - 'adam', 'sgd' and 'lbfgs' are scikit-learn's.

    alpha : float, default=0.0001
        Strength of the penalty on the squared weights. It is divided by the number of
        rows of the minibatch (by the sum of their weights), biases are not penalized,
        and both gradients of a sharpness-aware step contain it. It is not the decay of
        ``weight_decay``.

    batch_size : int or 'auto', default='auto'
        Rows per minibatch. 'auto' is ``min(200, n_samples)``; while ``rho`` is 'auto', a
        twentieth of the rows if that is less, though not less than 8. Not used when
        ``solver`` is 'lbfgs'.

    learning_rate : {'constant', 'invscaling', 'adaptive', 'cosine', 'flat_cosine', \
            'onecycle', 'step', 'multistep', 'exponential'}, default='constant'
        Schedule of the learning rate. scikit-learn's three are

        - 'constant', which keeps ``learning_rate_init``,
        - 'invscaling', ``learning_rate_init / (t_ + 1)**power_t`` after every epoch,
        - 'adaptive', which divides the rate by 5 whenever training would stop for lack
          of improvement, and stops once it is 1e-6 or less.

        The last two are only used when ``solver`` is 'sgd', or one that takes a base
        solver with ``base_solver='sgd'``, as in scikit-learn. The others are used with
        every ``solver`` but 'lbfgs' and 'yellowfin'. They begin at ``learning_rate_init``
        and span the ``max_iter`` epochs, or those that ``max_steps`` takes:

        - 'cosine' falls along half a cosine to ``lr_min``, step by step.
        - 'flat_cosine' does so after a share ``lr_flat`` of the training.
        - 'onecycle' rises from a 25th of ``learning_rate_init`` to it and falls to a
          250,000th, step by step. It does not cycle the momentum.
        - 'step' multiplies by ``lr_gamma`` every ``lr_step_size`` epochs.
        - 'multistep' multiplies by ``lr_gamma`` at the ``lr_milestones``.
        - 'exponential' multiplies by ``lr_gamma`` after every epoch.

    learning_rate_init : float, default=0.001
        Learning rate at the start. Not used when ``solver`` is 'lbfgs' or 'yellowfin'.

    power_t : float, default=0.5
        Exponent of ``learning_rate='invscaling'``.

    max_iter : int, default=200
        Epochs at most; iterations at most when ``solver`` is 'lbfgs'. A
        ``ConvergenceWarning`` says that training, or what judges it, got better by more
        than ``tol`` in the last ``n_iter_no_change`` of them.

    shuffle : bool, default=True
        Whether to shuffle the rows before every epoch. Not used when ``solver`` is
        'lbfgs'.

    random_state : int, RandomState instance or None, default=None
        Draws the initial weights, the validation rows and the order of the rows. An int
        makes fits repeatable. torch's global generator is never used, numpy's only if
        None, as in scikit-learn.

    tol : float, default=1e-4
        How much the training loss must fall (the validation score rise) for an epoch to
        count as an improvement.

    verbose : bool or int, default=False
        Whether to print the progress of every epoch. Where several networks are
        trained, every line says which one it is about.

    warm_start : bool, default=False
        Whether ``fit`` starts from the weights of the previous call.

    momentum : float, default=0.9
        Momentum of stochastic gradient descent, in [0, 1]. Only used when ``solver`` or
        ``base_solver`` is 'sgd'.

    nesterovs_momentum : bool, default=True
        Whether to use Nesterov's momentum. Only used when ``solver`` or ``base_solver``
        is 'sgd'.

    early_stopping : bool, default=False
        Whether to keep ``validation_fraction`` of the rows out of training, to stop when
        their score no longer improves, and to keep the weights of the best epoch. With
        ``X_val`` in ``fit``, these rows are scored instead. Not used when ``solver`` is
        'lbfgs'.

    validation_fraction : float, default=0.1
        Share of the rows kept for validation, in [0, 1). Only used when
        ``early_stopping`` is True and ``fit`` has no ``X_val``.

    beta_1 : float, default=0.9
        Decay of the mean of the gradient, in [0, 1); of 'schedule_free' the share of the
        average in where the gradient is taken. Only used when ``solver`` or
        ``base_solver`` is one of 'adam', 'adamw', 'radam', 'ranger', 'schedule_free' and
        'muon'.

    beta_2 : float, default=0.999
        Decay of the mean of the squared gradient, in [0, 1). Only used when ``solver``
        or ``base_solver`` is one of 'adam', 'adamw', 'radam', 'ranger', 'schedule_free'
        and 'muon'.

    epsilon : float, default=1e-8
        Added to the root of the mean squared gradient. Only used when ``solver`` or
        ``base_solver`` is one of 'adam', 'adamw', 'radam', 'ranger', 'schedule_free' and
        'muon'.

    n_iter_no_change : int or inf, default=10
        Epochs without improvement before training stops. Not used when ``solver`` is
        'lbfgs'.

    max_fun : int, default=15000
        Evaluations of the loss at most. Only used when ``solver`` is 'lbfgs'.

    max_steps : int or None, default=None
        Steps at most, in the place of ``max_iter``: training lasts as many epochs as
        this takes, rounded up. A number of steps is the better measure for small data,
        where an epoch is few of them. Not used when ``solver`` is 'lbfgs'.

    warmup : float or int, default=0
        How long the learning rate rises linearly at the beginning: a share of the
        training if float, a number of epochs if int. With 'onecycle' it is the length
        of the rise, 0.3 of the training if 0; the cosines begin when it ends. Not with
        ``learning_rate`` 'invscaling' or 'adaptive'. Needs a solver other than 'lbfgs'.

    lr_min : float, default=0.0
        Lowest learning rate. Only used when ``learning_rate`` is 'cosine' or
        'flat_cosine', or ``n_snapshots`` is more than 1.

    lr_gamma : float or None, default=None
        What the learning rate is multiplied by, in (0, 1]. None for 0.1 with 'step' and
        'multistep' and for 0.99 with 'exponential'. Only used when ``learning_rate`` is
        one of these.

    lr_step_size : int, default=50
        Epochs between two drops of the learning rate. Only used when
        ``learning_rate`` is 'step'.

    lr_milestones : array-like of float or int, default=(0.5, 0.75)
        Where the learning rate drops: shares of the training if floats, numbers of
        epochs if ints. Only used when ``learning_rate`` is 'multistep'.

    lr_flat : float, default=0.75
        Share of the training in which the learning rate stays, in [0, 1). Only used
        when ``learning_rate`` is 'flat_cosine'.

    base_solver : {'adam', 'sgd', 'ranger', 'radam', 'adamw', 'schedule_free', 'muon'}, \
            default='adam'
        Solver of the descent step. Only used when ``solver`` is a sharpness-aware
        one, from 'sam' to 'msam', or 'lookahead'. 'schedule_free' does not go with 'msam'
        and 'lookahead', 'ranger' not with 'lookahead', which it contains.

    rho : float or 'auto', default='auto'
        Radius of the neighborhood, in the Euclidean norm over all weights and biases of
        the network. The best value is a property of the data, from 0 to about 1; 'asam'
        and 'msam' want one about ten times as large. Only used when ``solver`` is a
        sharpness-aware one, from 'sam' to 'msam'.

        A number trains as scikit-learn does, with that radius; 0 gives the base solver.
        'auto' chooses the radius from ``rho_grid`` by the loss of rows that are left out,
        or by ``scoring``.
        All radii and folds are trained at once, and the hopeless ones are dropped on the
        way. With one member the network is then trained on all rows, for as many epochs
        as were good for the folds: at most ``max_iter``, and ``tol`` and
        ``n_iter_no_change`` are not used, except with ``swa`` or ``early_stopping``,
        which end training in their own way. 'auto' also sees to it that an epoch has about
        ten steps or more (``batch_size``) and averages the weights (``ema_decay``).
        ``partial_fit`` chooses nothing: it goes on with the radius of ``fit``, or if there
        was none with 0.05 (0.5 with 'asam' and 'msam'), or the only one of ``rho_grid``.
        With fewer than 100 rows and no ``cv`` there is too little for one network to
        choose by, and training is scikit-learn's with that radius.

    rho_grid : array-like of float or None, default=None
        Radii among which ``rho='auto'`` chooses. None for 0, 0.1 and 0.5, and with
        ``n_members`` for 0, 0.05, 0.1, 0.2, 0.5 and 1, with ``solver`` 'asam' and 'msam'
        ten times that. With ``solver='wsam'`` they are those of the perturbation that
        the weight amounts to, ``rho * gamma / (1 - gamma)``. Only used when ``rho`` is
        'auto' and there are rows to choose by, or a single radius.

    gamma : float, default=0.9
        Weight of the sharpness in the objective, in [0, 1): 0 gives the base solver, 0.5
        gives 'sam' (over 'sgd' without momentum only), more goes beyond it, as 'sam'
        with a radius of ``rho * gamma / (1 - gamma)``. Only used when ``solver`` is
        'wsam'.

    asam_eta : float, default=0.01
        Added to the size of the weights, in whose units the neighborhood is measured.
        Only used when ``solver`` is 'asam'.

    gsam_alpha : float, default=0.4
        Weight of the descent on the surrogate gap. 0 gives 'sam'. Only used when
        ``solver`` is 'gsam'.

    fisher_eta : float, default=10000.0
        Weight of the squared gradient against the identity in the metric of the
        neighborhood. 0 gives 'sam', and so does any that is small against one over the
        squared gradient, such as the paper's 1: search it in powers of ten. Only used
        when ``solver`` is 'fisher_sam'.

    friendly_sigma : float, default=1.0
        How much of the mean gradient is taken out of the perturbation. 0 gives 'sam', and
        is used when a minibatch holds all rows. Only used when ``solver`` is
        'friendly_sam'.

    friendly_decay : float, default=0.9
        Decay of the mean gradient, in [0, 1). Only used when ``solver`` is
        'friendly_sam'.

    looksam_k : int, default=5
        Every how many steps there is an ascent, whose direction is reused in between. 1
        gives 'sam'. Only used when ``solver`` is 'looksam'.

    looksam_alpha : float, default=0.7
        Length of the reused direction relative to the gradient. Only used when
        ``solver`` is 'looksam'.

    esam_fraction : float, default=0.5
        Part of the rows of a minibatch whose second gradient is taken, in (0, 1]: those
        whose loss rises most. 1 gives 'sam'. Only used when ``solver`` is 'esam'.

    sam_interval : int, default=1
        Every how many steps a sharpness-aware solver makes its step of two gradients. The
        others are the base solver's. Only used when ``solver`` is a sharpness-aware one.

    sam_start : float or int, default=0.0
        Epochs before the first such step: a fraction of ``max_iter`` if float, a number
        of epochs if int. Calls of ``partial_fit`` count as epochs. Training that stops
        before stays the base solver's. Only used when ``solver`` is a sharpness-aware
        one.

    micro_batch_size : int or None, default=None
        Rows that a perturbation is made of. A minibatch is cut into parts of so many rows,
        each is perturbed by itself, and the gradients are averaged. None for the whole
        minibatch. Only used when ``solver`` is a sharpness-aware one.

    lookahead_k : int, default=6
        Steps between two updates of the slow weights: Ranger's, where Lookahead's paper
        has 5. Only used when ``solver`` is 'ranger' or 'lookahead', or ``base_solver`` is
        'ranger'.

    lookahead_alpha : float, default=0.5
        How far the slow weights move towards the fast ones, in [0, 1]. Only used when
        ``solver`` is 'ranger' or 'lookahead', or ``base_solver`` is 'ranger'.

    weight_decay : float, default=0.01
        Decoupled decay: every step multiplies the weights, not the biases, by
        ``1 - learning_rate_init * weight_decay``, whatever the gradient. Beside it
        ``alpha`` penalizes the squared weights in the objective; set it to 0 for decay
        alone. Only used when ``solver`` or ``base_solver`` is 'adamw', 'schedule_free'
        or 'muon'.

    muon_momentum : float, default=0.95
        Decay of the mean gradient of the hidden layers' weights, in [0, 1). Only used
        when ``solver`` or ``base_solver`` is 'muon'.

    schedule_free_warmup : int, default=0
        Steps over which the learning rate rises to ``learning_rate_init``. Only used
        when ``solver`` or ``base_solver`` is 'schedule_free'.

    ema_decay : float, 'auto' or None, default=None
        Decay of an exponential moving average of the weights, in [0, 1), taken after
        every step from the start. Validation scores are its scores, and the estimator
        predicts with it. It looks back over about ``1 / (1 - ema_decay)`` steps, less in
        the beginning: choose a small part of all steps, such as 0.99 for some thousand.
        'auto' looks back over a tenth of all steps, ``1 - 10 / n_steps``, between 0.9 and
        0.999. None for 0.99 while ``rho`` is 'auto', without ``swa`` and ``n_snapshots``,
        and for no average otherwise; 0 never averages. Not together with ``swa``. Needs a
        solver other than 'lbfgs'.

    n_members : int, default=1
        Networks to train and to average the predictions of. With more than one, each is
        trained without a fold of the rows of its own, which chooses its best epoch: no
        row is lost to validation, and none judges a network that has seen it. They train
        for all of ``max_iter`` or ``max_steps``: ``early_stopping``, ``tol`` and
        ``n_iter_no_change`` are then not used. With ``X_val`` in ``fit``, every member
        trains on all rows and these choose its best epoch; members then differ by their
        seeds alone. ``partial_fit`` trains every member on all rows. Needs a solver other
        than 'lbfgs'.

    cv : int, splitter, iterable of splits or None, default=None
        Folds of ``n_members`` and of ``rho='auto'``. None for as many folds as members;
        for a single network a third of the rows is left out, in turn until 300 rows were,
        at random and, for a single label, stratified. For grouped or ordered rows give a
        splitter, or its splits.

    swa : bool, default=False
        Whether to end training with stochastic weight averaging, and to predict with
        the average. Averaging begins at ``swa_start``, or earlier when training would
        stop, and then lasts as many epochs as it would have. With ``early_stopping`` the
        average is kept only if it scores at least as well as the best epoch. Needs a
        solver other than 'lbfgs'.

    swa_start : float or int, default=0.75
        Epochs before averaging begins: a fraction of ``max_iter`` if float, a number of
        epochs if int. Calls of ``partial_fit`` count as epochs. Only used when ``swa``
        is True.

    swa_freq : int, default=1
        Epochs between two weights that enter the average. Only used when ``swa`` is
        True.

    swa_lr : float or None, default=None
        Learning rate while averaging. None leaves it to the schedule. Only used when
        ``swa`` is True.

    swa_anneal : float or int, default=0
        How long the learning rate takes to ``swa_lr`` when averaging begins: a share of
        the averaging if float, a number of epochs if int. 0 is at once. Only used when
        ``swa_lr`` is given.

    swa_anneal_strategy : {'cosine', 'linear'}, default='cosine'
        How it goes there. Only used when ``swa_anneal`` is not 0.

    swa_cycle : int or None, default=None
        Epochs in which the learning rate falls linearly from ``learning_rate_init`` to
        ``swa_lr``, again and again while averaging; weights enter the average at the end
        of every cycle, where the rate is lowest. Only used when ``swa_lr`` is given.

    n_snapshots : int, default=1
        Networks to collect on the way of one training, as members whose predictions are
        averaged. The learning rate then goes in cycles, ``snapshot_schedule``, and
        networks are collected where it is lowest, the last one at the end. Training
        lasts for all of ``max_iter`` or ``max_steps``: ``tol`` and ``n_iter_no_change``
        are then not used. Needs ``learning_rate='constant'``; not together with
        ``early_stopping``, ``n_members``, ``swa`` or ``ema_decay``.

    snapshot_schedule : {'cosine', 'triangular'}, default='cosine'
        Cycles of the learning rate between ``learning_rate_init`` and ``lr_min``.
        'cosine' falls along half a cosine and begins anew at once (snapshot ensembles),
        'triangular' falls and rises linearly (fast geometric ensembling). Only used when
        ``n_snapshots`` is more than 1.

    snapshot_start : float, int or None, default=None
        Epochs before the cycles begin: a share of the training if float, a number of
        epochs if int. None for 0 with 'cosine' and for 0.8 with 'triangular', whose
        cycles are for weights that are trained already. Only used when ``n_snapshots``
        is more than 1.

    class_weight : dict, list of dict, 'balanced' or None, default=None
        Weights of the classes, which multiply those of the rows: a weight per class
        label, or 'balanced' for ``n_samples / (n_classes * np.bincount(y))``. Classes
        that a dict does not name have weight 1. With several labels, a list of dicts, one
        per label. With early stopping the validation score is weighted too.

    scoring : str, callable or None, default=None
        What judges rows that are not trained on, the higher the better: the rows of
        ``early_stopping``, those of ``n_members``' folds and those that ``rho='auto'``
        chooses by. A name or a scorer as in :func:`sklearn.metrics.check_scoring`, or
        'loss' for minus the loss of the network. It is given an estimator with the
        weights of the epoch, the rows, and their weights if there are any. None for
        the accuracy with ``early_stopping``, and for 'loss' with folds. Only used with
        one of the three.

    n_jobs : int or None, default=None
        Processes over which groups of networks are spread, as in
        :class:`joblib.Parallel`. Groups get smaller with it, and a network that is
        computed beside others may differ from one beside fewer in the last digits of its
        weights. Only used when ``n_members`` is more than 1 or ``rho`` is 'auto'.

    device : str, default='auto'
        Where to train: 'auto' for CUDA if there is a device and the CPU otherwise,
        'cpu', 'cuda', or any other torch device. Prediction is numpy's, on the CPU. Not
        used when ``solver`` is 'lbfgs'.

    callbacks : list of skorch callbacks or None, default=None
        Called during the fit: on every epoch, batch and gradient. They see a skorch net
        and can stop training. Needs a solver other than 'lbfgs'. scikit-learn's own
        callbacks are given to ``set_callbacks``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.

    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Weights of every layer, of the dtype of ``X``. With ``swa=True``, or an
        ``ema_decay``, which ``rho='auto'`` brings, their average.

    intercepts_ : list of ndarray of shape (fan_out,)
        Biases of every layer.

    members_ : list of estimators
        The networks, each an estimator of its own. Only set when ``n_members`` or
        ``n_snapshots`` is more than 1; ``coefs_``, ``intercepts_`` and ``n_averaged_``
        are then theirs alone, with ``n_members`` the loss curve and the scores too.

    rho_ : float
        The radius that was chosen, or with too few rows that of ``partial_fit``. Only set
        when ``rho`` is 'auto', like the next four, which are there if there was a choice.

    rho_grid_ : ndarray of shape (n_radii,)
        The radii that were tried, in ascending order.

    rho_losses_ : ndarray of shape (n_radii,)
        Mean loss over the rows that were left out for each of them, every row by the
        network that did not see it, at the best epoch of the fold. That of a radius that
        was given up is of the epochs until then. Only set when ``scoring`` is None or
        'loss'.

    rho_scores_ : ndarray of shape (n_radii,)
        In their place with any other ``scoring``: the mean over the folds of its best
        scores, weighted by the rows of the fold. The radius with the highest is chosen,
        of equal ones the smallest.

    rho_epochs_ : ndarray of int of shape (n_radii,)
        Epochs for which each of them was trained before it was given up.

    oof_decision_function_ : ndarray of shape (n_samples, n_classes)
        Probabilities of every row, by the networks that did not see it, NaN if there is
        none. Only set by ``fit`` without ``X_val``, when ``n_members`` is more than 1 or
        ``rho`` is 'auto' and was chosen in this fit.

    n_averaged_ : int
        Number of epochs that ``swa`` has averaged in ``coefs_``; 0 without it, whether
        or not they are the average of ``ema_decay``.

    loss_ : float
        Loss of the last epoch, the penalty included. It is the mean over the epoch of
        the losses before each step; a sharpness-aware solver's too, not the perturbed
        ones.

    loss_curve_ : list of float
        Loss of every epoch, those of the calls before included if training went on from
        them. Not set when ``solver`` is 'lbfgs', like the next three.

    best_loss_ : float or None
        Smallest loss of an epoch. None with early stopping.

    validation_scores_ : list of float or None
        Accuracy on the validation rows after every epoch, or what ``scoring`` says.
        None without early stopping.

    best_validation_score_ : float or None
        Score of the weights that were kept. None without early stopping.

    n_iter_ : int
        Epochs (iterations when ``solver`` is 'lbfgs') of the last call.

    t_ : int
        Rows that the solver has seen, over all epochs.

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
    With ``rho=0`` training walks scikit-learn's own trajectory to rounding error. A fit
    that fails leaves the estimator as it was.

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

    D. P. Kingma, J. Ba. "Adam: A method for stochastic optimization." ICLR 2015.
    :arxiv:`1412.6980`.

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

    _parameter_constraints: dict = {
        **FlatMinimaMLP._parameter_constraints,
        "class_weight": [Choice({"balanced"}), dict, list, None],
    }
    _metric = staticmethod(accuracy_score)

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="sam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        max_steps=None,
        warmup=0,
        lr_min=0.0,
        lr_gamma=None,
        lr_step_size=50,
        lr_milestones=(0.5, 0.75),
        lr_flat=0.75,
        base_solver="adam",
        rho="auto",
        rho_grid=None,
        gamma=0.9,
        asam_eta=0.01,
        gsam_alpha=0.4,
        fisher_eta=10000.0,
        friendly_sigma=1.0,
        friendly_decay=0.9,
        looksam_k=5,
        looksam_alpha=0.7,
        esam_fraction=0.5,
        sam_interval=1,
        sam_start=0.0,
        micro_batch_size=None,
        lookahead_k=6,
        lookahead_alpha=0.5,
        weight_decay=0.01,
        muon_momentum=0.95,
        schedule_free_warmup=0,
        n_members=1,
        cv=None,
        ema_decay=None,
        swa=False,
        swa_start=0.75,
        swa_freq=1,
        swa_lr=None,
        swa_anneal=0,
        swa_anneal_strategy="cosine",
        swa_cycle=None,
        n_snapshots=1,
        snapshot_schedule="cosine",
        snapshot_start=None,
        class_weight=None,
        scoring=None,
        n_jobs=None,
        device="auto",
        callbacks=None,
    ):
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
        self.max_steps = max_steps
        self.warmup = warmup
        self.lr_min = lr_min
        self.lr_gamma = lr_gamma
        self.lr_step_size = lr_step_size
        self.lr_milestones = lr_milestones
        self.lr_flat = lr_flat
        self.base_solver = base_solver
        self.rho = rho
        self.rho_grid = rho_grid
        self.gamma = gamma
        self.asam_eta = asam_eta
        self.gsam_alpha = gsam_alpha
        self.fisher_eta = fisher_eta
        self.friendly_sigma = friendly_sigma
        self.friendly_decay = friendly_decay
        self.looksam_k = looksam_k
        self.looksam_alpha = looksam_alpha
        self.esam_fraction = esam_fraction
        self.sam_interval = sam_interval
        self.sam_start = sam_start
        self.micro_batch_size = micro_batch_size
        self.lookahead_k = lookahead_k
        self.lookahead_alpha = lookahead_alpha
        self.weight_decay = weight_decay
        self.muon_momentum = muon_momentum
        self.schedule_free_warmup = schedule_free_warmup
        self.n_members = n_members
        self.cv = cv
        self.ema_decay = ema_decay
        self.swa = swa
        self.swa_start = swa_start
        self.swa_freq = swa_freq
        self.swa_lr = swa_lr
        self.swa_anneal = swa_anneal
        self.swa_anneal_strategy = swa_anneal_strategy
        self.swa_cycle = swa_cycle
        self.n_snapshots = n_snapshots
        self.snapshot_schedule = snapshot_schedule
        self.snapshot_start = snapshot_start
        self.class_weight = class_weight
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.device = device
        self.callbacks = callbacks

    def _decode(self, outputs):
        """Return class labels of the network's outputs, or of encoded targets."""
        encoded = outputs.ravel() if self.n_outputs_ == 1 else outputs
        return self._label_binarizer.inverse_transform(encoded)

    def _take_out_of_fold(self, outputs):
        if outputs.shape[1] == 1:
            outputs = np.hstack([1 - outputs, outputs])
        self.oof_decision_function_ = outputs

    def _row_weights(self, y, sample_weight, of=None):
        """Multiply the weights of the rows by those of their classes."""
        if self.class_weight is None:
            return sample_weight
        labels = self._decode(y)
        if labels.ndim == 1 and isinstance(self.class_weight, list):
            raise ValueError(
                "class_weight must be a dict or 'balanced' for a single label, got "
                f"class_weight={self.class_weight}. A list of dicts is for several labels."
            )
        with about("class_weight must give classes of y their weights"):
            weights = self._class_weights(y, labels, of)
        if not np.isfinite(weights).all():
            raise ValueError(
                f"class_weight must hold finite numbers, got {self.class_weight}."
            )
        weights = weights if sample_weight is None else weights * sample_weight
        if of is None and not weights.any():
            raise ValueError(
                "class_weight must leave a row with a weight other than 0, sample_weight "
                f"included, got {self.class_weight}. Raise the weight of a class of y."
            )
        return weights

    def _class_weights(self, y, labels, of):
        """Return the weights of rows by their classes."""
        if labels.ndim == 2:
            return self._weights_of_several(y, of)
        trained = labels if of is None else self._decode(of)
        by_class = compute_class_weight(
            self.class_weight, classes=self.classes_, y=trained
        )
        return by_class[np.searchsorted(self.classes_, labels)]

    def _weights_of_several(self, y, of):
        """Return the weights of rows with several labels, by the classes of ``of``."""
        if of is None or self.class_weight != "balanced":
            return compute_sample_weight(self.class_weight, self._decode(y))
        both = np.vstack([of, y]).astype(int)
        trained = np.arange(len(of))
        return compute_sample_weight("balanced", both, indices=trained)[len(of) :]

    def _encode_given(self, y):
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
            return binarizer.transform(y).astype(bool)
        y = column_or_1d(y, warn=True)
        unknown = np.setdiff1d(unique_labels(y), self.classes_)
        if len(unknown):
            raise ValueError(
                f"it has the classes {unknown.tolist()}, which are not in y. Drop these "
                f"rows, or add some of the classes to y, which has "
                f"{self.classes_.tolist()}."
            )
        return binarizer.transform(y).astype(bool)

    @available_if(lambda est: est._check_solver())
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train for one epoch on the rows given, from where the last call stopped.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.

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
        with self._all_or_nothing():
            return super().partial_fit(
                X, y, sample_weight=sample_weight, classes=classes
            )
