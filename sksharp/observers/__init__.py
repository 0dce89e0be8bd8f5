"""Who hears how far a fit is: the progress bar and scikit-learn's callbacks."""
