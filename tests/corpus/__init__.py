"""Small files of every kind that broke other programs, each with the outcome that a run must have for it."""
