"""When training stops: scikit-learn's two rules, and a request."""

from __future__ import annotations

from .._jobs import Progress, Settings


class StopTraining(Exception):
    """A callback or an observer asks for the end of training."""


class StoppingRule:
    """Counts the epochs without improvement.

    Parameters
    ----------
    settings : Settings
        ``tol`` and ``n_iter_no_change``.

    progress : Progress
        The counters. A validation set is in use if it keeps ``validation_scores``.
    """

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self.tol = settings.tol
        self.patience = settings.n_iter_no_change
        self.progress = progress

    @property
    def uses_validation(self) -> bool:
        """Whether the validation score decides, not the training loss."""
        return self.progress.validation_scores is not None

    def after_loss(self, loss: float, *, is_of_model: bool) -> None:
        """Count the training loss of an epoch.

        A loss that is not of the model, because a solver with slow weights was at its
        fast ones all epoch, counts as the last epoch with one did.
        """
        progress = self.progress
        best = progress.best_loss
        if not is_of_model:
            self._count(is_stalled=progress.was_stalled)
            return
        assert best is not None
        self._count(is_stalled=loss > best - self.tol)
        if loss < best:
            progress.best_loss = loss

    def after_score(self, score: float) -> bool:
        """Count the validation score of an epoch; return whether it is the best yet."""
        progress = self.progress
        best = progress.best_validation_score
        assert best is not None
        assert progress.validation_scores is not None
        progress.validation_scores.append(score)
        self._count(is_stalled=score < best + self.tol)
        if score > best:
            progress.best_validation_score = score
            return True
        return False

    def _count(self, *, is_stalled: bool) -> None:
        # a NaN is not stalled, as in scikit-learn
        self.progress.was_stalled = is_stalled
        count = self.progress.no_improvement_count
        self.progress.no_improvement_count = count + 1 if is_stalled else 0

    def fires(self) -> bool:
        """Return whether the patience has run out."""
        return self.progress.no_improvement_count > self.patience

    def reset(self) -> None:
        """Start counting again."""
        self.progress.no_improvement_count = 0

    def message(self) -> str:
        """Return what to print when the rule fires."""
        what = "Validation score" if self.uses_validation else "Training loss"
        return (
            f"{what} did not improve more than tol={self.tol:f} for "
            f"{self.patience} consecutive epochs."
        )
