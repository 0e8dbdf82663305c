"""The listeners of a run: its driver emits one stream of events, which a screen shows and a record keeps.

Read in this order: `events` (what is emitted, and the state of the run that follows from it), `fan_out` (every event to
every listener), `record` (run.json, which a run cannot do without), `screen` (what the driver shows).
"""
