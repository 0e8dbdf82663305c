"""The sections of the page, in its order; a new one is a file, a template and a line here."""

from pathlib import Path

from jobs.report.section import Section
from jobs.report.sections import (
    broken,
    evaluation,
    funnel,
    gallery,
    identities,
    lineage,
    merges,
    rounds,
    search,
    sizes,
    training,
)

_HERE = Path(__file__).parent

SECTIONS: tuple[Section, ...] = (
    Section("funnel", "Pictures by stage", _HERE / "funnel.html", funnel.build, link="Pictures"),
    Section("search", "", _HERE / "search.html", search.build, is_part=True),
    Section("broken", "Broken and passed over", _HERE / "broken.html", broken.build, is_part=True),
    Section("sizes", "", _HERE / "sizes.html", sizes.build, is_part=True),
    Section("gallery", "Pictures left out", _HERE / "gallery.html", gallery.build, link="Left out"),
    Section("merges", "Identities that may be one person", _HERE / "merges.html", merges.build),
    Section(
        "identities",
        "Measurements that predict the identity",
        _HERE / "identities.html",
        identities.build,
        link="Identities",
    ),
    Section("training", "Training", _HERE / "training.html", training.build, link="Training"),
    Section("evaluation", "Evaluation", _HERE / "evaluation.html", evaluation.build, link="Evaluation"),
    Section("rounds", "Rounds", _HERE / "rounds.html", rounds.build, link="Rounds"),
    Section("lineage", "Lineage", _HERE / "lineage.html", lineage.build, link="Lineage"),
)
