"""The estimators: parameters, data, strategies of a fit, and fitted state."""
