"""A dataset to a model. Read in the order of the data: comm, feed, models, objectives, optim, schedule, strategies,
checkpoint, loop, evaluate, report."""
