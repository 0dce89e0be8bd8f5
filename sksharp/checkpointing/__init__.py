"""Trainings in files, to go on with after their process was killed."""
