"""`harness run`: what a study still lacks, who trains it, and how its records reach the stores."""
