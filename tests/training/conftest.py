import copy

import pytest


class _Handed(Exception):
    pass


@pytest.fixture
def job_of(monkeypatch):
    """Return a function that gives the job an estimator hands to the engine."""

    def job_of(estimator, X, y, **fit_params):
        jobs = []

        def hand(given, **options):
            # a copy: the estimator takes back everything when its fit fails
            jobs.extend(copy.deepcopy(given))
            raise _Handed

        with monkeypatch.context() as patch:
            patch.setattr("sksharp.training.fit_models", hand)
            with pytest.raises(_Handed):
                estimator.fit(X, y, **fit_params)
        return jobs[0]

    return job_of
