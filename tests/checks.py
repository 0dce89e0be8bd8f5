"""scikit-learn's checks of estimators, as parameters of a test."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

# a variant is another training: these see one, all others see what is done before it
SEE_THE_TRAINING = {
    "check_class_weight_classifiers",
    "check_classifiers_classes",
    "check_classifiers_multilabel_representation_invariance",
    "check_classifiers_one_label",
    "check_classifiers_one_label_sample_weights",
    "check_classifiers_train",
    "check_dict_unchanged",
    "check_dont_overwrite_parameters",
    "check_estimators_dtypes",
    "check_estimators_overwrite_params",
    "check_estimators_partial_fit_n_features",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1feature",
    "check_fit2d_1sample",
    "check_fit_idempotent",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_non_transformer_estimators_n_iter",
    "check_readonly_memmap_input",
    "check_regressors_int",
    "check_regressors_train",
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
    "check_sample_weights_not_overwritten",
}


def with_checks(estimators, only=None):
    """Return ``parametrize_with_checks(estimators)``, with a list for pytest 9.

    scikit-learn 1.7 passes an iterator, which is deprecated.
    """
    mark = parametrize_with_checks(estimators)
    names, values = mark.args
    values = [
        (estimator, check)
        for estimator, check in values
        if only is None or check.func.__name__ in only
    ]
    return pytest.mark.parametrize(names, values, **mark.kwargs)
