"""How an arm's settings are searched.

From the bottom: tried (what is known of a trial), design (the points that all arms share),
bracketing (whether the best setting lies inside what was tried), extension (what an open search
tries next), finalists (which setting is chosen), spread (how far a verdict hangs on the points
tried), storage (where Optuna keeps searches), sampling (who proposes values), search, edges (what
searches have to say) and importances.
"""
