"""What is on the sheets of a PDF file that Chromium has made: its text and its coloured shapes."""

import io
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pypdf


@dataclass
class Sheet:
    text: str = ""
    shapes: Counter[str] = field(default_factory=Counter)  # how many have the colour, as #17201c


def read(file: bytes) -> list[Sheet]:
    return [_read_sheet(page) for page in pypdf.PdfReader(io.BytesIO(file)).pages]


def _read_sheet(page: pypdf.PageObject) -> Sheet:
    sheet, colours = Sheet(), [""]

    def visit(operator: bytes, operands: list[Any], *_: Any) -> None:
        match operator:
            case b"q":
                colours.append(colours[-1])
            case b"Q":
                colours.pop()
            case b"rg":
                colours[-1] = "#" + "".join(f"{round(255 * float(part)):02x}" for part in operands)
            case b"scn":
                colours[-1] = ""
            case b"f":
                sheet.shapes[colours[-1]] += 1

    sheet.text = page.extract_text(visitor_operand_before=visit)
    return sheet
