"""Page -> one HTML file that needs no network.

Security: names of files and classes are untrusted. Jinja2 escapes all text; figures are JSON in a data block that is
never executed, with < > & escaped; the Content-Security-Policy allows the two scripts by their hashes and nothing else
to run or load. Styles are `unsafe-inline`, for plotly writes style attributes.
"""

import base64
import hashlib
import json
import os
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from kit.errors import ConfigError
from reports.elements import Page


def render(page: Page, date: datetime | None = None) -> str:
    """Page as HTML; the same page and date give the same bytes.

    `date` is when it was drawn; default SOURCE_DATE_EPOCH in the environment, else now.
    """
    scripts = (_plotly(), _template_text("page.js"))
    sections = tuple(section for section in page.sections if section.elements)
    return (
        _environment()
        .get_template("page.html")
        .render(
            page=page,
            sections=sections,
            policy=_policy(scripts),
            scripts=[Markup(script) for script in scripts],
            styles=Markup(_template_text("page.css")),
            drawn=(date or _now()).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )


def _policy(scripts: tuple[str, ...]) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    rules = (
        "default-src 'none'",
        f"script-src {hashes}",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(rules)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template_text),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["figure"] = figure_json
    environment.filters["data_url"] = lambda jpeg: f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    environment.tests["element"] = lambda element, name: type(element).__name__ == name
    return environment


def figure_json(figure: Any) -> Markup:
    """Figure as JSON that can neither end its script element nor begin a tag."""
    content = figure.to_plotly_json()
    content["layout"].pop("template", None)  # the page's colours come in the browser
    encoded = json.dumps(content, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    for letter in "<>&":
        encoded = encoded.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(encoded)


@cache
def _template_text(name: str) -> str:
    return files("reports").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    # `</script` in a string of the bundle would end the script element
    return get_plotlyjs().replace("</script", "<\\/script")


def _now() -> datetime:
    """Now, or SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/)."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        return datetime.fromtimestamp(int(fixed), UTC) if fixed else datetime.now(UTC)
    except (ValueError, OverflowError, OSError):
        hint = "Give seconds since 1970, or unset it."
        raise ConfigError(
            f"SOURCE_DATE_EPOCH in the environment must be a whole number, not {fixed!r}.", hint
        ) from None
