"""`harness check`: what a launch will cost and what its design can show, before anything trains."""
