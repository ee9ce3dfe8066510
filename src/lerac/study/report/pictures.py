"""Figures inside the page itself, so that they follow its colours by day and by night."""

import colorsys
import re
from collections.abc import Iterable
from html import escape

from markupsafe import Markup
from matplotlib.figure import Figure

from lerac.study.figures.style import svg

__all__ = ["colour_rules", "inline_svg", "variable"]

_COLOUR = re.compile(r"#([0-9a-f]{6})\b")
_VARIABLE = re.compile(r"var\(--c([0-9a-f]{6})\)")


def inline_svg(figure: Figure, name: str, text: str) -> Markup:
    """Draw a figure as an `<svg>` element.

    Args:
        figure: what to draw; on no ground of its own.
        name: unique in the page; all ids inside start with it.
        text: that stands for the picture where it is not seen.

    Returns:
        The element. Its colours are variables, which `colour_rules` defines.
    """
    drawn = svg(figure, transparent=True)
    opening, _, rest = drawn[drawn.index("<svg") :].partition(">")
    box = re.search(r'viewBox="[^"]*"', opening)
    rest = re.sub(r"\s*<metadata>.*?</metadata>", "", rest, flags=re.DOTALL)
    rest = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", rest, count=1, flags=re.DOTALL)  # is in style.css
    rest = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", rest)
    rest = _COLOUR.sub(lambda found: variable(found[0]), rest)
    label = escape(text)
    return Markup(f'<svg id="{name}" role="img" aria-label="{label}" {box[0] if box else ""}>{rest.strip()}')


def variable(colour: str) -> str:
    """Give the variable of a colour `#rrggbb`, as CSS uses it."""
    return f"var(--c{colour[1:].lower()})"


def colour_rules(texts: Iterable[str]) -> tuple[str, str]:
    """Give the declarations of all colour variables in some texts: as drawn, and for a dark ground.

    There, greys are inverted, and colours made lighter in their hue.
    """
    colours = sorted({colour for text in texts for colour in _VARIABLE.findall(text)})
    light = " ".join(f"--c{colour}: #{colour};" for colour in colours)
    dark = " ".join(f"--c{colour}: {_on_dark(colour)};" for colour in colours)
    return light, dark


def _on_dark(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    lightness = 0.92 - 0.85 * lightness if saturation < 0.05 else 0.5 + 0.4 * lightness
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, saturation))
