"""Figures as SVG: what hovering over a mark tells, and how a figure becomes part of a page.

matplotlib writes an artist's gid as the id of its group, and nothing else of one's own. So the gid
carries the hint until the drawing is made, and then becomes <title> elements.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from reports.run import style

if TYPE_CHECKING:
    from matplotlib.artist import Artist

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"
_HINT = "hint "
_OF_PAGE = {style.INK: "--ink", style.GREY: "--grey", style.RULE: "--rule", "#ffffff": "--page"}
"""Colours that a figure shares with its page."""


def hint(artist: Artist, text: str, each: Sequence[str] = ()) -> None:
    """Hovering over the artist tells `text`; over its markers, in their order, those of `each`."""
    artist.set_gid(_HINT + json.dumps([text, *each]))


def with_titles(drawing: str) -> str:
    """What matplotlib drew, with hints as titles, and without what it says of itself."""
    root = _parsed(drawing)
    for group in root.iter(f"{{{_SVG}}}g"):
        if group.get("id", "").startswith(_HINT):
            text, *each = json.loads(group.attrib.pop("id").removeprefix(_HINT))
            marks = list(group.iter(f"{{{_SVG}}}use"))
            for mark, words in zip(marks, each, strict=False):
                _entitle(mark, words)
            _entitle(group, text)
    if (metadata := root.find(f"{{{_SVG}}}metadata")) is not None:
        root.remove(metadata)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + _written(root)


def inline(drawing: str, name: str, text: str) -> str:
    """A drawing as an element of a page: `text` is read to who does not see it, ids begin with
    `name`, and colours are the page's variables, which may be others on a dark one."""
    root = _parsed(drawing)
    used = set(_references(root))
    for element in root.iter():
        if (own := element.attrib.pop("id", None)) in used:
            element.set("id", f"{name}-{own}")
        if (href := element.get(_HREF)) is not None:
            element.set(_HREF, href.replace("#", f"#{name}-"))
        if "d" in element.attrib:
            shape = " ".join(element.attrib["d"].split())
            element.set("d", re.sub(r"(\.\d\d)\d+", r"\1", shape))  # a hundredth of a point
        # A variable is sure to be understood in a style only.
        looks = [element.get("style", "")]
        if (fill := element.attrib.pop("fill", None)) is not None:
            looks.append(f"fill: {fill}")
        if look := "; ".join(filter(None, looks)):
            element.set("style", _of_page(look, name))
        if (clip := element.get("clip-path")) is not None:
            element.set("clip-path", clip.replace("(#", f"(#{name}-"))
    for sheet in list(root.iter(f"{{{_SVG}}}defs")):
        for own_style in sheet.findall(f"{{{_SVG}}}style"):  # would hold for all of the page
            sheet.remove(own_style)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": text}
    return _written(root)


def _of_page(look: str, name: str) -> str:
    look = re.sub(r"font-family: [^;]*(; |$)", "", look).replace("(#", f"(#{name}-")
    return re.sub(r"(?<!\()#[0-9a-f]{6}\b", lambda found: _variable(found[0]), look)


def _variable(colour: str) -> str:
    return f"var({_OF_PAGE.get(colour) or variable_of(colour)}, {colour})"


def variable_of(colour: str) -> str:
    """The page's variable for a colour of figures."""
    return f"--x{colour.removeprefix('#')}"


def _entitle(element: Element, text: str) -> None:
    """Its title; what is neither filled nor drawn can be hovered over all the same."""
    if not text:
        return
    title = Element(f"{{{_SVG}}}title")
    title.text = text
    element.insert(0, title)
    for path in element.findall(f"{{{_SVG}}}path"):
        if path.get("style") == "fill: none":
            path.set("pointer-events", "all")


def _references(root: Element) -> Iterator[str]:
    for element in root.iter():
        for value in element.attrib.values():
            yield from re.findall(r"(?:^|url\()#([^)]+)", value)


def _parsed(drawing: str) -> Element:
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.fromstring(drawing)


def _written(root: Element) -> str:
    for element in root.iter():
        element.tail = "\n" if element.tail else None
        if element.text and not element.text.strip():
            element.text = None
    return ElementTree.tostring(root, encoding="unicode")
