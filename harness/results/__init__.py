"""What is in the store already: shown, named, compared, loaded, exported, removed. Nothing trains.

From the bottom: names (which runs a name means), open (a study with what is stored of it), status
and reports (what they show of it), trained_models (a run's best parameters), comparands and compare
(arms of whatever study, side by side), export, clean.
"""
