"""Reading XML of other tools, without document types."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from streetseg.core.errors import StreetsegError


class _DoctypeError(Exception):
    """An XML file declares a document type, which could declare entities."""


def parse_xml(data: bytes, path: Path) -> ElementTree.Element:
    """The root of an XML file; StreetsegError if it is damaged or declares a document type.

    Without a document type there are no entities, so none can be expanded or fetched.
    """
    builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate()

    def refuse_doctype(*_: Any) -> None:
        raise _DoctypeError

    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
        return builder.close()
    except _DoctypeError:
        raise StreetsegError(
            f"{path} declares a document type, which no annotation tool writes: it is not read"
        ) from None
    except (expat.ExpatError, ValueError) as error:  # ValueError: an unknown text encoding
        raise StreetsegError(
            f"{path} is not valid XML ({error}): export or copy it again"
        ) from None
