"""Plans: the rows of each step, as a pure function of the dataset's layout, the seed, the epoch and the batch size."""
