"""HTML and SVG elements, built as a tree, so that all text is escaped."""

from xml.etree.ElementTree import Element, tostring

__all__ = ["Element", "element", "to_html"]

Content = Element | str


def element(tag: str, *contents: Content, **attributes: object) -> Element:
    """Return an element; in attribute names, a last `_` is removed, any other `_` becomes `-`.

    Numbers are rounded to a tenth of a pixel.
    """
    made = Element(tag, {_name(key): _text(value) for key, value in attributes.items()})
    for content in contents:
        if isinstance(content, Element):
            made.append(content)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + content
        else:
            made.text = (made.text or "") + content
    return made


def to_html(root: Element) -> str:
    """Return the tree as HTML."""
    return "<!doctype html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _text(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
