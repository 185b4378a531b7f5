"""What a study will do, cost and be able to show, before it runs.

From the bottom: design (whether it can reach its own threshold), resolve (engines, pack sizes and
budgets), cost (packs and their seconds), probe (what a few updates of an arm show), history (what
earlier runs tell), disk and power_table (what it takes, what it can show), check (all of it
printed).
"""
