"""report.html as one page that needs nothing else."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .blocks import Block


def render_page(title: str, blocks: Sequence[Block]) -> str:
    """The text of report.html.

    Args:
        title: The title of the report.
        blocks: What the page shows, from top to bottom.
    """
    template = template_environment(__package__ or "").get_template("page.html")
    return template.render(title=title, blocks=blocks, style=style_element())


def template_environment(package: str) -> Environment:
    """The templates in a package's folder. Every text from data is escaped; an unknown name is an error."""
    return Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def style_element() -> Markup:
    """The look of every report's page, as a <style> element."""
    return Markup((files(__package__ or "") / "style.html").read_text())
