"""The faults that end a job: told from errors, logs and signals in one line with a remedy, and kept beside the log."""
