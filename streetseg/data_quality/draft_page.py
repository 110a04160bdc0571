"""A page and a table of what 'streetseg init' found in a folder."""

from __future__ import annotations

from collections.abc import Sequence

from streetseg.core.terminal import print_table, table_of
from streetseg.data.drafting.draft import Draft
from streetseg.data.drafting.measure import Finding
from streetseg.reports.drawing import jpeg_address, shrink
from streetseg.reports.html import render_page

PAGE = "init.html"
CROP_WIDTH = 320


def draft_page(draft: Draft, findings: Sequence[Finding], unusable: Sequence[str]) -> str:
    """The HTML of the page: each label with its fraction, frames and an example."""
    return render_page(
        "init.html.j2",
        draft=draft,
        findings=findings,
        unusable=unusable,
        crop=lambda finding: jpeg_address(shrink(finding.crop, CROP_WIDTH)),
    )


def print_findings(findings: Sequence[Finding]) -> None:
    """Print a line for each label."""
    table = table_of("id", "label", "cityscapes", "color", "pixels", "frames", "example")
    for finding in findings:
        label = finding.label
        table.add_row(
            str(label.id),
            label.name,
            ", ".join(label.cityscapes),
            ",".join(map(str, label.color)),
            f"{finding.fraction:.2%}",
            str(finding.frames),
            finding.example,
        )
    print_table(table)
