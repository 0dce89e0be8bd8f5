"""One fit in several processes, on one machine or many."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .observers._bar import quiet

if TYPE_CHECKING:
    from .training._ranks import Ranks

__all__ = ["data_parallel"]


@contextlib.contextmanager
def data_parallel(first_pass: str = "reduced") -> Iterator[Ranks]:
    r"""Context in which every fit is shared by the processes of a launcher.

    ``torchrun`` or ``accelerate launch`` starts the same script several times. Inside
    this context ``fit`` and ``partial_fit`` cut every minibatch into as many parts as
    there are processes; each computes the gradient of its part, and the gradients are
    averaged, weighted by the rows or their ``sample_weight``. All processes go through
    the same steps and end with the same estimator: that of one process, but for rounding.

    Parameters
    ----------
    first_pass : {'reduced', 'local'}, default='reduced'
        The first gradient of the solvers that take two. 'reduced' averages it too: two
        exchanges a step, and SAM as in one process. 'local' lets every process climb
        along the gradient of its own rows: one exchange, and m-SAM with :math:`m` rows,
        a minibatch over the number of processes, as with ``micro_batch_size``. Only for
        ``solver='sam'``, ``'asam'``, ``'fisher_sam'`` and ``'esam'``, and without effect
        on solvers with one gradient.

    Yields
    ------
    ranks : object
        With the attributes ``rank``, the number of this process from 0, ``world_size``,
        how many there are, and ``is_first``, whether it is the one to write files.

    Raises
    ------
    ImportError
        If there is no process group yet and accelerate, which sets it up, is not
        installed.
    ValueError
        If ``first_pass`` is neither. In a fit: if the processes have different data,
        parameters or draws (``random_state`` must be an int), or if ``callbacks`` are
        set.

    See Also
    --------
    sksharp.optim.SharpnessAware : With ``first_pass``, for modules of your own under
        ``DistributedDataParallel``.

    Notes
    -----
    Every process needs all rows: it shuffles, scales and validates as if it were alone.
    A memory-mapped file is in memory once per machine. Every process must make the same
    calls in the same order; one that stays away lets the others wait. With
    ``verbose`` the first one prints, and :func:`sksharp.progress` shows the first one's
    bar. scikit-learn's callbacks (``set_callbacks``) hear of the fit in every process that
    has them; those of the first say whether to stop. ``n_jobs`` is not used, and
    ``'esam'`` selects rows within each process's part.

    What is exchanged, per step and pass, is one vector as long as the network has weights
    and biases. Small networks are faster in one process.

    A process group that exists, of ``torch.distributed.init_process_group``, is used as
    it is. Else accelerate sets one up from what the launcher says: by gloo on CPUs, by
    NCCL on CUDA devices, one device per process. In a script that no launcher has
    started there is one process, and fits are as ever.

    References
    ----------
    P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur. "Sharpness-aware minimization for
    efficiently improving generalization." ICLR 2021 (section 4.1, m-sharpness).
    :arxiv:`2010.01412`.

    Examples
    --------
    In a script, for instance for ``torchrun --nproc-per-node 2 script.py``:

    >>> from sklearn.datasets import load_iris
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.distributed import data_parallel
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SAMMLPClassifier(solver='sam', rho=0.1, batch_size=50, random_state=0,
    ...                        learning_rate_init=0.02, max_iter=300)
    >>> with data_parallel() as ranks:  # doctest: +SKIP
    ...     _ = clf.fit(X, y)
    >>> if ranks.is_first:  # doctest: +SKIP
    ...     print(clf.score(X, y))
    """
    from .training import data_parallel as shared  # imports torch

    with shared(first_pass) as ranks:
        with contextlib.nullcontext() if ranks.is_first else quiet():
            yield ranks
