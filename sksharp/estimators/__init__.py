"""The estimators: parameters, data, what is trained, and what a fit leaves."""
