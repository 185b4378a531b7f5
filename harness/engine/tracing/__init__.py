"""From a cell's `step` to a program that the engines compile: trace, program, schedule."""
