"""The faults that end a job: found in errors, logs and signals, and described in one line with a remedy."""
