"""A recurrence as one kernel a direction: the matrices stay on the chip for all time steps."""
