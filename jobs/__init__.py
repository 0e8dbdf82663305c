"""The verbs: one thin job per stage, the settings that they share, and the driver that runs them in order."""
