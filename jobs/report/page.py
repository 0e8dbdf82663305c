"""A run folder and its artefacts -> report.html: one file, no network, nothing in it that could run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from jobs.report.contents import Contents, Made, read_contents
from jobs.report.formats import FILTERS
from jobs.report.section import Figure, Section
from jobs.report.sections.table import SECTIONS
from pipelines.durable import write_atomically
from pipelines.run_folder import RunFolder


@dataclass(frozen=True)
class _Drawn:
    """A section as `page.html` sees it."""

    section: Section
    figures: tuple[Figure, ...]
    pending: str
    html: Markup


def build_report(run_folder: Path, made: Sequence[Made], *, sections: Sequence[Section] = SECTIONS) -> Path:
    """Write the report of a run, as far as the run has come, and return its path.

    Args:
        made: the artefacts of its stages, in the order of the run; what is missing is shown as not yet run.

    Raises:
        UserError: a folder holds no finished artefact.
    """
    contents = read_contents(run_folder, made)
    environment = _environment()
    drawn = [one for section in sections if (one := _draw(section, contents, environment))]
    page = environment.get_template("page.html").render(run=contents.run, sections=drawn)
    path = RunFolder(run_folder).report
    write_atomically(path, page.encode())
    return path


def _draw(section: Section, contents: Contents, environment: jinja2.Environment) -> _Drawn | None:
    body = section.build(contents)
    if body is None:
        return None
    html = "" if body.pending else environment.from_string(section.template.read_text()).render(body.values)
    return _Drawn(section, body.figures, body.pending, Markup(html))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment
