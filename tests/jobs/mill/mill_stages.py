"""A river of three tiny stages, for tests of the driver: grind makes rows, press counts them, tell reports."""

from jobs.stages import Stage

STAGES = (
    Stage(
        "grind",
        "flour",
        (),
        ("grind",),
        launcher="local",
        job="mill_grind",
        not_in_fingerprint=("grind.pids", "grind.seconds"),
    ),
    Stage("press", "bread", ("flour",), ("press",), launcher="local", job="mill_press", by_content={"flour": "rows"}),
    Stage("tell", None, ("flour", "bread"), (), launcher="local", job="mill_tell"),
)
