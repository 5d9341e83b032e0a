"""What is on the sheets of a PDF file that Chromium has made: its text and its coloured shapes."""

import re
import zlib
from collections import Counter
from dataclasses import dataclass, field

_OBJECT = re.compile(rb"(\d+) 0 obj\s(.*?)(?:stream\r?\n(.*?)\nendstream\s)?endobj", re.DOTALL)
_OPERATOR = re.compile(
    rb"(?P<font>/F\d+) \S+ Tf|<(?P<glyphs>[0-9A-F]+)> Tj|\b(?P<name>BT|q|Q|f)\b"
    rb"|(?P<colour>[\d. ]+) rg|(?P<pattern>/\S+) scn"
)


@dataclass
class Sheet:
    text: str = ""
    shapes: Counter[str] = field(default_factory=Counter)  # how many have the colour, as #17201c


def read(file: bytes) -> list[Sheet]:
    objects = {number: (head, body) for number, head, body in _OBJECT.findall(file)}

    def follow(head: bytes, name: bytes) -> bytes:
        found = re.search(rb"/" + name + rb" (\d+) 0 R", head)
        return zlib.decompress(objects[found[1]][1]) if found else b""

    def read_form(drawn: re.Match[bytes]) -> bytes:
        head, body = objects[drawn[1]]
        return zlib.decompress(body) if b"/Form" in head else b""

    fonts = {
        b"/F" + number: _read_characters(follow(head, b"ToUnicode"))
        for number, (head, _) in objects.items()
        if b"/Type /Font\n" in head
    }
    pages = [follow(head, b"Contents") for head, _ in objects.values() if b"/Type /Page\n" in head]
    return [_read_sheet(re.sub(rb"/X(\d+) Do", read_form, page), fonts) for page in pages]


def _read_characters(cmap: bytes) -> dict[int, str]:
    """Return the characters of a font's glyphs."""
    characters = {}
    for first, last, to in re.findall(rb"<(\w+)> (?:<(\w+)> )?<(\w{4,})>\n", cmap):
        for glyph in range(int(first, 16), int(last or first, 16) + 1):
            characters[glyph] = chr(int(to[:4], 16) + glyph - int(first, 16))
    return characters


def _read_sheet(content: bytes, fonts: dict[bytes, dict[int, str]]) -> Sheet:
    sheet, colour, font, width = Sheet(), "", dict[int, str](), 2
    saved: list[str] = []
    for found in _OPERATOR.finditer(content):
        match found.lastgroup, found[found.lastgroup or 0]:
            case "font", name:
                font = fonts[name]
                width = 4 if max(font, default=0) > 0xFF else 2
            case "glyphs", glyphs:
                codes = (int(glyphs[at : at + width], 16) for at in range(0, len(glyphs), width))
                sheet.text += "".join(font.get(code, "") for code in codes)
            case "colour", parts:
                colour = "#" + "".join(f"{round(255 * float(part)):02x}" for part in parts.split())
            case "pattern", _:
                colour = ""
            case _, b"BT":
                sheet.text += "\n"
            case _, b"q":
                saved.append(colour)
            case _, b"Q":
                colour = saved.pop()
            case _:
                sheet.shapes[colour] += 1
    return sheet
