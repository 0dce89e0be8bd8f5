"""Files of fitted estimators that hold data alone."""
