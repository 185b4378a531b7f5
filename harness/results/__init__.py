"""What is in MLflow already: named, compared, loaded, exported, removed. Nothing here trains.

From the bottom: names (which runs a name means), models (a run's best parameters), sides and
comparison (arms of whatever study, side by side), exporting, cleaning.
"""
