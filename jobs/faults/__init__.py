"""The faults that end a job: found in errors, logs and signals, described in one line with a remedy, and kept beside the log."""
